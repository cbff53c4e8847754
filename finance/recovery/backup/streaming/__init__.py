"""WAL as it is written: received, encrypted, stored, signed for.

stream             the loop around all of it
receiver, spool    `pg_receivewal`; what it left in a folder, on its way to the place
unsigned, wal_signing   what is stored and in no signed list yet; who signs
"""
