"""Recovery drills: restore the ledger from one of its copies, prove it again, and sign what came of it."""
