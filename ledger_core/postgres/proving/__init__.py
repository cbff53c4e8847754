"""The prover's tables: prover_store, on_demand_store (operators' proofs), held_ranges (what is published binds),
tile_store (trees in tiles, live checkpoints), receipt_reader, time_decisions (records that a broker dated ahead).
"""
