"""Where work comes in: the services around the core. They know ports, never concrete adapters."""
