"""The ledger as the oracle reads it: ledger_reader (one snapshot, streamed), not_held (what a rebuilt one lacks)."""
