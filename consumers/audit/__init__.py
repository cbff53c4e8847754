"""The audit chain: notary (its one writer), published_chain (how far the topic goes), exporter, restore."""
