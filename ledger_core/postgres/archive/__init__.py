"""The archiver's tables: archiver_store, lock_decisions."""
