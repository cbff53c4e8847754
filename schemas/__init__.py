"""What the bytes mean: wire formats to domain types and back, and the loaded topology. Pure."""
