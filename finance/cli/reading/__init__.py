"""What stands in the ledger: balances, entry."""
