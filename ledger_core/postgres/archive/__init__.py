"""The archiver's tables: archiver_store."""
