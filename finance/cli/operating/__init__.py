"""Running the service: run, status, control (halt, resume), shards (skip), migrate, topics, doctor, guard, render."""
