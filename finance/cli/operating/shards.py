"""`finance shards`: what an operator decides, on record, about one shard that does not get on."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, load_topology_of, operator
from finance.settings import clock
from finance.wiring.kafka import end_of_unreadable
from ledger_core.errors import Refused
from ledger_core.postgres.posting.shard_halts import Decision, decide, open_halt
from ledger_core.postgres.proving.time_decisions import accept
from ledger_core.times import format_time


@click.group()
def command() -> None:
    """What to do with one shard that stands still.

    \b
    Example:
      finance shards skip --shard 0 --offset 4711 --reason "incident 42"
      finance shards accept-times --shard 0 --reason "incident 43"
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
    found = open_halt(dsn, shard)
    if found is None or found.kind != "unreadable" or found.at_offset != offset:
        raise Refused(
            f"shard {shard} does not stand before an unreadable record at offset {offset}",
            remedy="see `finance status`: a poster says there where it cannot read on",
        )
    end = end_of_unreadable(settings, topology.topics["settlements"].name, shard, offset)
    actor_id, trace_id = operator(settings), clock.new_trace_id()
    decide(
        dsn,
        Decision(halt=found, actor_id=actor_id, reason=reason, trace_id=trace_id, set_aside_offset=end),
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


@command.command("accept-times")
@click.option("--shard", type=click.IntRange(min=0), required=True, help="The shard whose ranges wait for `clock`.")
@click.option("--reason", required=True, help="Why: one line, for the audit chain.")
@json_option
def accept_times(shard: int, reason: str, as_json: bool) -> None:
    """Prove records that a broker dated ahead, because its clock was wrong.

    The prover says that it waits for `clock`, and names the three times. Set the clock that is wrong first. The records
    keep their times; the proof has the time of the clocks that agree. Accepted is what the shard holds now: records
    that come later, dated further ahead, wait again. The decision and its audit event (shard.times_accepted) are one
    transaction. Reads DATABASE_URL_API and FINANCE_OPERATOR.

    \b
    Example:
      finance shards accept-times --shard 0 --reason "broker 2 was a year ahead, incident 43"
    """
    settings = load_settings()
    actor_id, trace_id = operator(settings), clock.new_trace_id()
    dsn = settings.database_url("api")
    upto = format_time(accept(dsn, shard=shard, reason=reason, actor_id=actor_id, trace_id=trace_id))
    told = {"ok": True, "shard": shard, "upto": upto, "actor_id": actor_id, "trace_id": trace_id}

    def words(console: Console) -> None:
        console.print(f"shard {shard}: times up to {upto} are accepted by {actor_id}; the prover goes on by itself")

    emit(as_json, told, words)
