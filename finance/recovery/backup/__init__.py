"""Base backups, streamed WAL, point-in-time restore: Postgres's own tools, orchestrated.

serve       a restored directory becomes a served database
assembly    settings become places, tools, recipients and terms
base        base backups, and what is done with what is stored    streaming   WAL as it is written
place       what a place holds, and who signed it
failures, tools, wal   failures counted; Postgres's programs; the arithmetic of WAL
"""
