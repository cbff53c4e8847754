"""The trees of shards in tiles, checked against what they are made of.

archived  in an archive: against the batches
kept      in the database: against each other; ledger compares their root
"""
