"""Base backups, streamed WAL, point-in-time restore: Postgres's own tools, orchestrated (ARCHITECTURE, "Recovery")."""
