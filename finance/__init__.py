"""The front doors: command line, settings, wiring, telemetry and the development stack."""
