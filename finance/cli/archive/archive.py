"""`finance archive`: what an operator decides about objects that wait for one."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, operator
from finance.settings import clock
from ledger_core.archive.names import is_lockable_key
from ledger_core.errors import Refused
from ledger_core.postgres.archive.lock_decisions import decide
from ledger_core.times import format_time


@click.group()
def command() -> None:
    """The archive: lock an object whose own time is of a wrong clock.

    \b
    Example:
      finance archive lock OBJECT_KEY --reason "incident 42"
    """


@command.command()
@click.argument("object_key")
@click.option("--reason", required=True, help="Why: one line, for the audit chain.")
@json_option
def lock(object_key: str, reason: str, as_json: bool) -> None:
    """Count the lock of one object from now, because its own time is of a wrong clock.

    The archiver names the object and the two times in its log (archive.waits). Set the clock that is wrong first.
    The archiver tries again within a minute. The lock lasts as long as every other: nobody chooses its end. The
    decision and its audit intent (archive.lock_decided) are one transaction. Reads DATABASE_URL_API and
    FINANCE_OPERATOR.

    \b
    Example:
      finance archive lock OBJECT_KEY \\
        --reason "the database's clock was in 2199, incident 42"
    """
    settings = load_settings()
    if not is_lockable_key(object_key, settings.env):
        raise Refused(
            f"{object_key[:200]!r} is not the name of a batch or an export of {settings.env}",
            remedy="copy the name from the archiver's log (archive.waits)",
        )
    actor_id, trace_id = operator(settings), clock.new_trace_id()
    dsn = settings.database_url("api")
    decided = decide(dsn, object_key=object_key, reason=reason, actor_id=actor_id, trace_id=trace_id)
    at = None if decided is None else format_time(decided)

    def words(console: Console) -> None:
        if at is None:
            console.print("this was decided before: the lock is counted from then")
        else:
            console.print(f"the lock of {object_key} is counted from {at}; the archiver stores it within a minute")

    told = {"ok": True, "object_key": object_key, "changed": at is not None, "decided_at": at, "trace_id": trace_id}
    emit(as_json, told, words)
