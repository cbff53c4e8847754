"""Events in: publish, dlq."""
