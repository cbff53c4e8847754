"""The audit chain's tables: outbox (intents), notary_store, export_store (to the archive), restore_store (back),
set_asides, bundles."""
