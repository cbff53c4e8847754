"""`finance migrate`: bring the database to the schema of this version, or say what is missing."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings
from ledger_core.postgres.schema.bounds import set_bounds
from ledger_core.postgres.schema.deployment import bind_deployment
from ledger_core.postgres.schema.migrate import migrate, pending
from ledger_core.postgres.session import session


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 when migrations are missing.")
@json_option
def command(check: bool, as_json: bool) -> None:
    """Apply the migrations that the database lacks, in order, each in its own transaction.

    Connects as the owner, with DATABASE_URL: for a new database a role that may create roles, afterwards
    finance_migrator. Running it twice, or twice at once, is harmless. A migration that was applied and changed since is
    refused. The first run writes down to which FINANCE_ENV and FINANCE_DOMAIN the database belongs; others are refused.
    Each role gets limits of connections and times: what this login may not set is printed, for an administrator, or a
    superuser where functions are revoked (RUNBOOK, section 4).

    \b
    Examples:
      finance migrate
      finance migrate --check --json
    """
    settings = load_settings()
    dsn = settings.owner_database_url()
    names = pending(dsn) if check else migrate(dsn)
    left: list[str] = []
    if not check:
        with session(dsn, application_name="finance migrate") as connection:
            bind_deployment(connection, settings.env, settings.domain)
            left = set_bounds(connection)
    missing = names if check else []

    def words(console: Console) -> None:
        for name in names:
            console.print(f"{'missing' if check else 'applied'}  {name}")
        if not names:
            console.print("the database has the schema of this version")

        if left:
            console.print("an administrator must set what this login may not:")
        for statement in left:
            console.print(f"  {statement};", markup=False)

    facts = {"ok": not missing, "applied": [] if check else names, "missing": missing, "for_administrators": left}
    emit(as_json, facts, words)
    if missing:
        raise click.exceptions.Exit(1)
