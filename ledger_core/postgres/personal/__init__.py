"""Personal data beside the ledger: keeper_store (what the keeper writes), erasures (what operators decide to forget),
disclosures (what they decide to show), progress (how far the keeper has come)."""
