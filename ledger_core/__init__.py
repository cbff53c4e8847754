"""The rules of the ledger: pure functions from bytes to bytes. No I/O, no clock, no environment (but `postgres/`)."""
