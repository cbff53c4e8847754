"""`finance audit set-aside`: an event that somebody forged means nothing from then on, and stays on the chain."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, operator
from finance.settings import clock
from ledger_core.postgres.audit.set_asides import set_aside


@click.command(name="set-aside")
@click.option("--seq", type=click.IntRange(1), required=True, help="Of the event on the audit chain.")
@click.option("--reason", required=True, help="Why it is not what it says: one line, for the audit chain.")
@json_option
def command(seq: int, reason: str, as_json: bool) -> None:
    """Decide that one event of the audit chain means nothing: somebody left it who had no right to.

    The event stays on the chain, and your decision (audit.set_aside) stands behind it, once the notary has chained it.
    From then on every reader passes the event over: provers go on with their shards within seconds, and `finance verify
    audit` has no finding of it. Refused for what announces a range that this database holds: that is true. Reads
    DATABASE_URL_API and FINANCE_OPERATOR.

    \b
    Example:
      finance audit set-aside --seq 1207 --reason "left with a stolen certificate of the archiver, incident 42"
    """
    settings = load_settings()
    actor_id, trace_id = operator(settings), clock.new_trace_id()
    event, changed = set_aside(settings.database_url("api"), seq, reason=reason, actor_id=actor_id, trace_id=trace_id)

    def words(console: Console) -> None:
        what = f"event {seq} ({event.event_type} by {event.actor_id})"
        console.print(f"{what} is set aside by {actor_id}" if changed else f"{what} was set aside before")

    told = {
        "ok": True,
        "seq": str(seq),
        "event_type": event.event_type,
        "event_actor_id": event.actor_id,
        "hash": event.hash,
        "changed": changed,
        "actor_id": actor_id,
        "trace_id": trace_id,
    }
    emit(as_json, told, words)
