"""topology.yaml: model (what each key means), load, checks (what must hold between its parts)."""
