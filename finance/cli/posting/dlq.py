"""`finance dlq`: rejected events, whole and with their reasons; and sending them round once more."""

from __future__ import annotations

import base64
import datetime as dt
from pathlib import Path

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, load_topology_of, operator, table, utc
from finance.settings import clock
from finance.settings.deployment import Settings
from ledger_core.errors import RejectReason
from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intents
from ledger_core.postgres.reading import queries
from ledger_core.postgres.reading.queries import DeadLetter
from ledger_core.postgres.session import session

FLUSH_TIMEOUT_SECONDS = 20.0
RETRY_MAX = 1000

REASONS = click.Choice([reason.value for reason in RejectReason])

reason_option = click.option("--reason", type=REASONS, help="Only this reason.")
shard_option = click.option("--shard", type=click.IntRange(0), help="Only this shard.")


@click.group()
def command() -> None:
    """List, show and retry rejected events.

    \b
    Examples:
      finance dlq list --reason conflict
      finance dlq show 0 1234
    """


@command.command(name="list")
@reason_option
@shard_option
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many.")
@json_option
def list_(reason: str | None, shard: int | None, limit: int, as_json: bool) -> None:
    """Rejected records, newest first, and how many there are of each reason.

    Reads DATABASE_URL_API.

    \b
    Examples:
      finance dlq list
      finance dlq list --reason unbalanced --shard 1 --json
    """
    with session(load_settings().database_url("api"), application_name="finance dlq", read_only=True) as connection:
        counts = queries.rejected_by_reason(connection)
        found = queries.dead_letters(connection, shard=shard, reason=reason or "", limit=limit)

    def words(console: Console) -> None:
        rows = [(d.shard, d.source_offset, _time(d), d.reason, d.event_id or "-", d.detail[:80]) for d in found]
        console.print(
            table(("shard", "offset", "time", "reason", "event id", "detail"), rows, right=("shard", "offset"))
        )
        console.print("in all: " + (", ".join(f"{count:,} {name}" for name, count in counts) or "none"))

    told = [_object(letter) for letter in found]
    emit(as_json, {"ok": True, "dead_letters": told, "counts": dict(counts)}, words)


@command.command()
@click.argument("shard", type=click.IntRange(0))
@click.argument("offset", type=click.IntRange(0))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the original bytes into this file.")
@json_option
def show(shard: int, offset: int, out: Path | None, as_json: bool) -> None:
    """One rejected record: reason, detail, key, headers and the original bytes (base64).

    Reads DATABASE_URL_API. Exits 1 when that offset was not rejected.

    \b
    Example:
      finance dlq show 0 1234 --out original.bin
    """
    with session(load_settings().database_url("api"), application_name="finance dlq", read_only=True) as connection:
        found = queries.dead_letters(connection, shard=shard, offset=offset, limit=1)
    if not found:
        emit(as_json, {"ok": False, "dead_letters": []}, lambda console: console.print("that offset was not rejected"))
        raise click.exceptions.Exit(1)
    letter = found[0]
    if out is not None:
        out.write_bytes(letter.record.value or b"")

    def words(console: Console) -> None:
        for name, value in _object(letter).items():
            console.print(f"{name:15} {value}")

    emit(as_json, {"ok": True, "dead_letter": _object(letter)}, words)


@command.command()
@click.argument("shard", type=click.IntRange(0))
@click.argument("offsets", type=click.IntRange(0), nargs=-1)
@click.option("--reason", type=REASONS, help="Instead of OFFSETS: the newest of this reason.")
@click.option(
    "--limit", type=click.IntRange(1, RETRY_MAX), default=100, show_default=True, help="With --reason: how many."
)
@json_option
def retry(shard: int, offsets: tuple[int, ...], reason: str | None, limit: int, as_json: bool) -> None:
    """Publish the original key, value and headers to the settlements topic again.

    Worth while when the record could not be read (malformed, unknown_schema) and now can be. An event id keeps its
    verdict for ever: a record whose event id was rejected is answered so again, and what is mended needs a new one.
    The audit intent (dead_letter.retried) is on record before anything is published. Reads DATABASE_URL_API,
    KAFKA_BROKERS, FINANCE_OPERATOR.

    \b
    Examples:
      finance dlq retry 0 1234 1240
      finance dlq retry 1 --reason unknown_schema --limit 500
    """
    if bool(offsets) == (reason is not None):
        raise click.UsageError("name OFFSETS, or --reason")
    settings = load_settings()
    dsn, trace_id = settings.database_url("api"), clock.new_trace_id()
    with session(dsn, application_name="finance dlq retry") as connection:
        if offsets:
            one_by_one = [queries.dead_letters(connection, shard=shard, offset=o, limit=1) for o in offsets]
            missing = [offset for offset, found in zip(offsets, one_by_one, strict=True) if not found]
            letters = [letter for found in one_by_one for letter in found]
        else:
            missing = []
            letters = queries.dead_letters(connection, shard=shard, reason=reason or "", limit=limit)
        letters = [letter for letter in letters if letter.reason != RejectReason.NO_RECORD]
        with connection.transaction(), connection.cursor() as cursor:
            append_intents(cursor, [_intent(letter, operator(settings), trace_id) for letter in letters])
    _publish(settings, letters)
    _tell_retried(letters, missing, trace_id, as_json)


def _intent(letter: DeadLetter, actor_id: str, trace_id: str) -> AuditIntent:
    payload: dict[str, object] = {
        "shard": letter.shard,
        "source_offset": str(letter.source_offset),
        "reason": letter.reason,
    }
    if letter.event_id is not None:
        payload["event_id"] = letter.event_id
    return AuditIntent("dead_letter.retried", actor_id, payload, trace_id)


def _publish(settings: Settings, letters: list[DeadLetter]) -> None:
    """Same partition: that is where the key belongs, and where its shard is. Oldest first, as they came."""
    from finance.wiring.kafka import open_publisher

    publisher = open_publisher(settings)
    topic = load_topology_of(settings).topics["settlements"].name
    try:
        for letter in sorted(letters, key=lambda letter: letter.source_offset):
            record = letter.record
            publisher.publish(topic, letter.shard, key=record.key, value=record.value, headers=record.headers)
        publisher.flush(FLUSH_TIMEOUT_SECONDS)
    finally:
        publisher.close()


def _tell_retried(letters: list[DeadLetter], missing: list[int], trace_id: str, as_json: bool) -> None:
    settled = [letter for letter in letters if letter.event_id is not None]

    def words(console: Console) -> None:
        console.print(f"published {len(letters):,} again")
        for offset in missing:
            console.print(f"offset {offset} was not rejected: left alone")
        if settled:
            console.print(
                f"warning: {len(settled):,} of them carry an event id, which keeps its verdict for ever: they will be "
                "answered as before; publish what is mended under a new event id"
            )

    told = {
        "ok": not missing,
        "published": [str(letter.source_offset) for letter in letters],
        "not_rejected": [str(offset) for offset in missing],
        "keep_their_verdict": [letter.event_id for letter in settled],
        "trace_id": trace_id,
    }
    emit(as_json, told, words)
    if missing:
        raise click.exceptions.Exit(1)


def _object(letter: DeadLetter) -> dict[str, object]:
    record = letter.record
    return {
        "shard": letter.shard,
        "offset": str(letter.source_offset),
        "time": _time(letter),
        "reason": letter.reason,
        "detail": letter.detail,
        "event_id": letter.event_id,
        "first_verdict": letter.first_verdict,
        "topic": record.topic,
        "key_base64": _base64(record.key),
        "value_base64": _base64(record.value),
        "headers": [[name, _base64(value)] for name, value in record.headers],
    }


def _time(letter: DeadLetter) -> str:
    """The record's time; a publisher may have given it one that no calendar has."""
    try:
        moment = dt.datetime.fromtimestamp(letter.record.timestamp_ms / 1000, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return "-"
    return utc(moment) if letter.record.timestamp_ms > 0 else "-"


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
