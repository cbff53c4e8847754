"""The archiver: archiver (locked objects), manifest_lister (their signed list), stored_batch (what a crash left)."""
