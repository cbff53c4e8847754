"""The prover.

prover            journal -> closed ranges -> signed proofs, checkpoints; prover_settings
range_closer      closes the next range
adoption          beside it: what the database lost is closed again, as it was announced
published_guard   what was published binds; published_topic and published_ranges read it
live_checkpoints  between ranges: what receipts wait for; note_lines: its signatures
tree_history      the tree behind a checkpoint, for a witness
on_demand         `finance prove`
"""
