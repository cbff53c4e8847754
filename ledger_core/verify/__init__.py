"""The oracle. `oracle` is what everybody asks; the rest is how it answers.

oracle          proof, batch, archive, ledger, audit chain -> Report
statements      signed statements on their own; recorded: what the audit chain says of one
receipts        receipts, and checkpoints that were kept; checkpoint_check: one against its record
range_tally     a range against the proof that speaks of it
batch           one audit batch
archive         a whole archive: archive_walk, archived_range, references; announced: beside the audit chain
bundles         an auditor's bundle; tiles: those of a tree
ledger          the database: ledger_rows, ledger_fold, ledger_ranges, signed_parts, event_ids
audit           the audit chain
source          the settlements topic beside the archive
"""
