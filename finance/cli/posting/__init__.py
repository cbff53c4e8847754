"""Events in: publish, dlq, rules."""
