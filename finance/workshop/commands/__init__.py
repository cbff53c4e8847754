"""The commands of the workshop: dev, demo."""
