"""The prover's tables: prover_store, on_demand_store (operators' proofs), held_ranges (what is published binds)."""
