"""Running the service: run, status, control (halt, resume), migrate, topics, doctor, guard, render."""
