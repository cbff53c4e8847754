"""Questions of commands: queries (balances, entries), dead_letters, progress (how far each shard has come).

The projection of the journal, in schemas of its own:
projection_places    where projections stand, and which one is asked; projection.sql has their tables
projection_store     what the projector writes: projection_series, projection_copy, projection_blocks, projection_totals
projection_verdicts  what became of events that posted nothing; projection_links: where proofs and objects are
asking, questions, stories   one snapshot a question; what is asked, for commands and everybody else
projection_check     whether it is what the ledger says: projection_derived, projection_said
projection_balances  balances as of a day and a position; projection_entries: entries by name, statements
"""
