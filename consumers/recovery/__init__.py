"""The way back.

replay           the topic again, into another database; replay_beside: compared with the live ledger
replay_place     where that stands
rebuild          the archive, range by verified range
topic_fill       what the archive leaves out; topic_ends: how far was published
archive_log      verdicts and proofs, asked of the archive
rule_sets        what a replay judges by
"""
