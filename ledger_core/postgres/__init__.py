"""The one fenced door to the database: SQL beside its code, migrations, roles. Reached through `ledger_core.ports`."""
