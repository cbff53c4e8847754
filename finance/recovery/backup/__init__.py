"""Base backups, streamed WAL, point-in-time restore: Postgres's own tools, orchestrated.

create, manifest, pages              a base backup; its signed manifest; the server's own list of its files
stream, receiver, spool, unsigned    WAL as it is written (wal: its arithmetic)
wal_signing, wal_list, signing_faults   who signs for stored WAL, and where that has a hole
catalogue, copies, keys, seal        what a place holds; places read as one; names; encryption
plan, restore, cluster, serve        a moment -> what it needs -> a directory -> a served database
retention, verify                    what may go; is everything there?
statement, failures, tools, assembly what they share
"""
