"""Events in: publish, movement, dlq, rules."""
