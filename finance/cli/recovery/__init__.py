"""The way back: rebuild, replay, backup (backup_listing: its words), restore, drill."""
