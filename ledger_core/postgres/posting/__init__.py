"""The poster's tables.

poster_store     a shard's head; one batch committed on top of it
plan_writer      the rows of one plan (a rebuild writes them too)
account_numbers  the accounts of a shard and their balances
copy_binary      rows as binary COPY
newest_record    what the topic must still have, as remembered
rules_in_force   which posting rules are in force, as verdicts on record say
control          halts, and lifting them; shard_halts: one shard's halt, and what ends it
"""
