"""topology.yaml: model (what each key means), load, checks (what must be true between its parts)."""
