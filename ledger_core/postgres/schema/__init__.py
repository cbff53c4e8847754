"""The schema: migrations/, migrate, authority (who may do what), bounds (how much of the server), guard (is it still
so?), deployment (whose it is)."""
