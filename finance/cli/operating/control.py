"""`finance halt` and `finance resume`: what stops posting everywhere (G10), and one shard's halt."""

from __future__ import annotations

from contextlib import closing

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, load_topology_of, operator
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.wiring.kafka import open_watermarks
from ledger_core.postgres.posting import control
from ledger_core.postgres.posting.shard_halts import Decision, decide, open_halt


@click.command()
@click.option("--reason", required=True, help="Why: one line, for the audit chain and every poster's log.")
@json_option
def halt(reason: str, as_json: bool) -> None:
    """Stop all posting, within a second, everywhere. Consuming pauses; nothing is lost.

    The halt and its audit intent (ledger.halted) are one transaction, and wait for nobody's lock. Proofs, archive and
    audit chain go on with what is posted. Reads DATABASE_URL_API and FINANCE_OPERATOR.

    \b
    Example:
      finance halt --reason "debits differ from credits at the provider, incident 42"
    """
    settings = load_settings()
    actor_id, trace_id = operator(settings), clock.new_trace_id()
    changed = control.halt(settings.database_url("api"), reason=reason, actor_id=actor_id, trace_id=trace_id)
    _tell(as_json, halted=True, changed=changed, actor_id=actor_id, trace_id=trace_id)


@click.command()
@click.option("--reason", default="resumed by the operator", show_default=True, help="Why it is safe to go on.")
@click.option("--shard", type=click.IntRange(min=0), help="End the halt of this shard alone.")
@click.option(
    "--until-offset",
    type=click.IntRange(min=0),
    help="With --shard: dead letters below this offset do not count towards the limit.  [default: what waits now]",
)
@json_option
def resume(reason: str, shard: int | None, until_offset: int | None, as_json: bool) -> None:
    """Let posting go on from where it stopped: lift every halt on record, and none that comes meanwhile; with --shard,
    the halt of that shard alone.

    A shard beyond its dead-letter limit goes on past what an operator has seen: up to --until-offset nothing counts
    towards the limit. One that stands before an unreadable record reads it again. The change and its audit event
    (ledger.resumed, ledger.shard_resumed) are one transaction. Reads DATABASE_URL_API and FINANCE_OPERATOR; with
    --shard KAFKA_BROKERS too.

    \b
    Examples:
      finance resume --reason "publisher mended, see incident 42"
      finance resume --shard 3 --reason "publisher shut out, see incident 43"
    """
    settings = load_settings()
    if shard is None and until_offset is not None:
        raise click.UsageError("--until-offset belongs to --shard")
    actor_id, trace_id = operator(settings), clock.new_trace_id()
    if shard is not None:
        _resume_shard(settings, shard, reason, until_offset, actor_id, trace_id, as_json)
        return
    changed = control.resume(settings.database_url("api"), reason=reason, actor_id=actor_id, trace_id=trace_id)
    _tell(as_json, halted=False, changed=changed, actor_id=actor_id, trace_id=trace_id)


def _resume_shard(
    settings: Settings,
    shard: int,
    reason: str,
    until_offset: int | None,
    actor_id: str,
    trace_id: str,
    as_json: bool,
) -> None:
    dsn = settings.database_url("api")
    found = open_halt(dsn, shard)
    allowed = None
    if found is not None:
        if found.kind == "dead_letters":
            allowed = _end_offset(settings, shard) if until_offset is None else until_offset
        decide(
            dsn,
            Decision(halt=found, actor_id=actor_id, reason=reason, trace_id=trace_id, allowed_offset=allowed),
        )

    def words(console: Console) -> None:
        if found is None:
            console.print(f"shard {shard} was not halted alone: see `finance status`")
            return
        console.print(f"shard {shard} goes on at offset {found.at_offset}, by {actor_id}")
        if allowed is not None:
            console.print(f"dead letters below offset {allowed} do not count towards its limit")

    told = {
        "ok": True,
        "shard": shard,
        "changed": found is not None,
        "kind": None if found is None else found.kind,
        "allowed_offset": allowed,
        "actor_id": actor_id,
        "trace_id": trace_id,
    }
    emit(as_json, told, words)


def _end_offset(settings: Settings, shard: int) -> int:
    with closing(open_watermarks(settings, "api")) as watermarks:
        return watermarks.high(load_topology_of(settings).topics["settlements"].name, shard)


def _tell(as_json: bool, *, halted: bool, changed: bool, actor_id: str, trace_id: str) -> None:
    def words(console: Console) -> None:
        if not changed:
            console.print("this halt stands already: see `finance status`" if halted else "posting was not halted")
        else:
            console.print(f"posting is halted by {actor_id}" if halted else f"posting goes on, by {actor_id}")

    told = {"ok": True, "halted": halted, "changed": changed, "actor_id": actor_id, "trace_id": trace_id}
    emit(as_json, told, words)
