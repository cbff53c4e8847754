"""Questions of commands: queries (balances, entries), dead_letters, progress (how far each shard has come)."""
