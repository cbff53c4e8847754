"""The keys of one process: signer_set (by kid), circuit (when a key service fails)."""
