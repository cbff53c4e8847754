"""The rules of rebuild and replay.

rebuild_checks   before a rebuild writes: is the database a prefix of the archive?
archived_plan    a verified range as the plan that posting it made
archived_rows    a verified range as the rows of prover and archiver
published        what the topics hold already, and so what must still be published
replay_port      what a replay asks beside the topic
compare_ledgers  two ledgers that should be one: the first difference
"""
