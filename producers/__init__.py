"""Where results leave: one adapter a file, each behind a port of `ledger_core.ports`."""
