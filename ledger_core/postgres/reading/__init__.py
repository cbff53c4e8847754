"""Questions of commands: queries (balances, entries, dead letters), progress (how far each shard has come)."""
