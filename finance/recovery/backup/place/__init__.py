"""What a place holds: names, encryption, signed manifests and lists, and the catalogue of it all.

catalogue, copies    everything that is there; several places read as one
keys, seal           names of objects; compression and encryption
manifest, wal_list   what is signed of a base backup, and of stored WAL
statement, signing_faults   what both kinds have in common; where signed WAL has a hole
"""
