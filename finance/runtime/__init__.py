"""One process and its life: process, supervisor (`run all`), watchdog, registry_watch, tls_watch (changing files)."""
