"""An auditor's bundle, checked from its bytes and a registry alone.

whole    the file: its spelling, the statement, every member, audit exports, keys
shard    one shard: the archive's own walk over its members, the window, what was asked for
openings personal data that are shown, held against the digests in the entries
trees    what stood before the first batch, by two checkpoints and the proof between them
"""
