"""The audit chain: audit (read, verify, replay), copies (export, restore), set_aside."""
