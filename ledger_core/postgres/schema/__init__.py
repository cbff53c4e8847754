"""The schema: migrations/, migrate, authority (who may do what), guard (is it still so?), deployment (whose it is)."""
