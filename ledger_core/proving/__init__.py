"""From posted entries to signed range proofs and checkpoints.

open_range       the range that grows: entries in, cuts out
range_limits     where a range ends at the latest
closed_range     a cut with its verdicts: the unsigned bytes of its proof and checkpoint
announced_range  a closed range as the audit topic announces it: enough to close it again
range_proof      the signed statement about a range; proof_signatures: whether one counts
checkpoint       the signed head of a shard's record (C2SP); receipt: one leaf of it
tiles            its trees in pieces; tile_checks: whether these lead to what was signed
statement_time   the time a proof states, by clocks that agree; on_demand: a proof of any stretch
intents          what the audit chain records about ranges and proofs
"""
