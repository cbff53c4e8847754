"""Personal data beside the ledger: keeper_store (what the keeper writes), erasures (what an operator decides), progress
(how far the keeper has come)."""
