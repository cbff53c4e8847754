"""The way back: rebuild, replay, backup, restore, drill."""
