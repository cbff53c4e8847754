"""`finance shards skip`: past what no reader can read, by an operator's decision, on record."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, load_topology_of, operator
from finance.settings import clock
from finance.wiring.kafka import end_of_unreadable
from ledger_core.errors import Refused
from ledger_core.postgres.posting.shard_halts import Decision, decide, open_halts
from ledger_core.postgres.session import session


@click.group()
def command() -> None:
    """What to do with one shard that stands still.

    \b
    Example:
      finance shards skip --shard 0 --offset 4711 --reason "incident 42"
    """


@command.command()
@click.option("--shard", type=click.IntRange(min=0), required=True, help="The shard that stands still.")
@click.option("--offset", type=click.IntRange(min=0), required=True, help="Where it stands: see `finance status`.")
@click.option("--reason", required=True, help="Why: one line, for the audit chain.")
@json_option
def skip(shard: int, offset: int, reason: str, as_json: bool) -> None:
    """Set aside what no reader can read: its offsets are rejected as `unreadable`, and the shard goes on behind them.

    Works only where a poster could not read on, and where this command cannot either. The batch is set aside whole. The
    decision and its audit event (ledger.offsets_set_aside) are one transaction; replay and rebuild take it from the
    verdict log. Reads DATABASE_URL_API, KAFKA_BROKERS and FINANCE_OPERATOR.

    \b
    Example:
      finance shards skip --shard 0 --offset 4711 --reason "incident 42: a batch that unpacks to 150 MB"
    """
    settings = load_settings()
    topology = load_topology_of(settings)
    dsn = settings.database_url("api")
    with session(dsn, application_name="finance shards", read_only=True) as connection:
        found = [halt for halt in open_halts(connection) if halt.shard == shard and halt.kind == "unreadable"]
    if not found or found[0].at_offset != offset:
        raise Refused(
            f"shard {shard} does not stand before an unreadable record at offset {offset}",
            remedy="see `finance status`: a poster says there where it cannot read on",
        )
    end = end_of_unreadable(settings, topology.topics["settlements"].name, shard, offset)
    actor_id, trace_id = operator(settings), clock.new_trace_id()
    decide(
        dsn,
        Decision(halt=found[0], actor_id=actor_id, reason=reason, trace_id=trace_id, set_aside_offset=end),
    )
    told = {
        "ok": True,
        "shard": shard,
        "first_offset": offset,
        "next_offset": end,
        "actor_id": actor_id,
        "trace_id": trace_id,
    }

    def words(console: Console) -> None:
        console.print(f"shard {shard}: offsets {offset}..{end - 1} are set aside by {actor_id}; it goes on at {end}")

    emit(as_json, told, words)
