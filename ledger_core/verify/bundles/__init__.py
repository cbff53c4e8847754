"""An auditor's bundle, checked from its bytes and a registry alone.

whole    the file: its spelling, the statement, every member, audit exports, keys
shard    one shard: the archive's own walk over its members, the window, what was asked for
trees    what stood before the first batch, by two checkpoints and the proof between them
"""
