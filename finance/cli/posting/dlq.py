"""`finance dlq`: rejected events, whole and with their reasons; and sending them round once more."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, load_topology_of, operator, table, utc
from finance.settings import clock
from finance.settings.deployment import Settings
from ledger_core.errors import RejectReason
from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intents
from ledger_core.postgres.reading import dead_letters
from ledger_core.postgres.reading.dead_letters import DeadLetter, Place
from ledger_core.postgres.session import session
from ledger_core.posting.verdicts import NOTHING_READ

FLUSH_TIMEOUT_SECONDS = 20.0
RETRY_MAX = 1000
LIST_MAX = 10_000

REASONS = click.Choice([reason.value for reason in RejectReason])

reason_option = click.option("--reason", type=REASONS, help="Only this reason.")
shard_option = click.option("--shard", type=click.IntRange(0), help="Only this shard.")


def _place(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Place | None:
    if text is None:
        return None
    shard, _, offset = text.partition(":")
    if not (shard.isdecimal() and offset.isdecimal()):
        raise click.BadParameter("is not SHARD:OFFSET, as `next` of a page before says it")
    return Place(int(shard), int(offset))


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
@click.option("--limit", type=click.IntRange(1, LIST_MAX), default=50, show_default=True, help="At most so many.")
@click.option(
    "--after", metavar="SHARD:OFFSET", callback=_place, help="Go on behind this one: `next` of the page before."
)
@json_option
def list_(reason: str | None, shard: int | None, limit: int, after: Place | None, as_json: bool) -> None:
    """Rejected records, shard by shard, newest first in each, and how many there are of each reason.

    One page holds at most --limit records and 8 MiB of originals; `next` says where the following one begins. Reasons
    are counted up to 100,000 each. Reads DATABASE_URL_API.

    \b
    Examples:
      finance dlq list
      finance dlq list --reason unbalanced --shard 1 --json
      finance dlq list --limit 1000 --after 0:1234
    """
    if after is not None and shard not in (None, after.shard):
        raise click.UsageError(f"--after names shard {after.shard}, --shard another one")
    with session(load_settings().database_url("api"), application_name="finance dlq", read_only=True) as connection:
        counts, total = dead_letters.counts(connection), dead_letters.total(connection)
        found = dead_letters.page(connection, shard=shard, reason=reason or "", after=after, limit=limit)

    def words(console: Console) -> None:
        rows = [(d.shard, d.source_offset, _time(d), d.reason, d.event_id or "-", d.detail[:80]) for d in found.letters]
        console.print(
            table(("shard", "offset", "time", "reason", "event id", "detail"), rows, right=("shard", "offset"))
        )
        parts = [f"{count:,}{'+' * (count == dead_letters.COUNT_MAX)} {name}" for name, count in counts.items()]
        console.print("in all: " + (", ".join(parts) or "none"))
        if found.end is not None:
            console.print(f"there are more: add --after {found.end}")

    emit(
        as_json,
        {
            "ok": True,
            "dead_letters": [_object(letter) for letter in found.letters],
            "next": None if found.end is None else str(found.end),
            "counts": counts,
            "counts_max": dead_letters.COUNT_MAX,
            "rejected": str(total),
        },
        words,
    )


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
        letter = dead_letters.one(connection, shard, offset)
    if letter is None:
        emit(as_json, {"ok": False, "dead_letters": []}, lambda console: console.print("that offset was not rejected"))
        raise click.exceptions.Exit(1)
    if out is not None:
        out.write_bytes(letter.record.value or b"")

    shown = _object(letter)

    def words(console: Console) -> None:
        for name, value in shown.items():
            console.print(f"{name:15} {value}")

    emit(as_json, {"ok": True, "dead_letter": shown}, words)


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
    Where nothing is kept of a value (it may carry personal data), its publisher sends the event anew.
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
    with session(dsn, application_name="finance dlq retry") as connection, _publisher(settings) as publish:
        wanted = list(offsets) or dead_letters.newest_offsets(connection, shard=shard, reason=reason or "", limit=limit)
        done = _Retried(set(wanted))
        for piece in dead_letters.pieces(connection, shard, sorted(set(wanted))):
            letters = [it for it in piece if it.reason not in NOTHING_READ and it.record.value is not None]
            with connection.transaction(), connection.cursor() as cursor:
                append_intents(cursor, [_intent(letter, operator(settings), trace_id) for letter in letters])
            publish(letters)
            done.take(piece, letters)
    _tell_retried(done, trace_id, as_json)


@dataclass(slots=True)
class _Retried:
    """What became of the offsets that were named."""

    missing: set[int]  # not rejected
    published: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)  # event ids among them, which keep their verdict

    def take(self, piece: Sequence[DeadLetter], letters: Sequence[DeadLetter]) -> None:
        self.missing.difference_update(letter.source_offset for letter in piece)
        self.published += [str(letter.source_offset) for letter in letters]
        self.settled += [letter.event_id for letter in letters if letter.event_id is not None]


def _intent(letter: DeadLetter, actor_id: str, trace_id: str) -> AuditIntent:
    payload: dict[str, object] = {
        "shard": letter.shard,
        "source_offset": str(letter.source_offset),
        "reason": letter.reason,
    }
    if letter.event_id is not None:
        payload["event_id"] = letter.event_id
    return AuditIntent("dead_letter.retried", actor_id, payload, trace_id)


@contextmanager
def _publisher(settings: Settings) -> Iterator[Callable[[Sequence[DeadLetter]], None]]:
    """Same partition: that is where the key belongs, and where its shard is. Oldest first, as they came."""
    from finance.wiring.kafka import open_publisher

    publisher = open_publisher(settings)
    topic = load_topology_of(settings).topics["settlements"].name

    def publish(letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            record = letter.record
            publisher.publish(topic, letter.shard, key=record.key, value=record.value, headers=record.headers)
        publisher.flush(FLUSH_TIMEOUT_SECONDS)

    try:
        yield publish
    finally:
        publisher.close()


def _tell_retried(done: _Retried, trace_id: str, as_json: bool) -> None:
    missing = sorted(done.missing)

    def words(console: Console) -> None:
        console.print(f"published {len(done.published):,} again")
        for offset in missing:
            console.print(f"offset {offset} was not rejected: left alone")
        if done.settled:
            console.print(
                f"warning: {len(done.settled):,} of them carry an event id, which keeps its verdict for ever: they "
                "will be answered as before; publish what is mended under a new event id"
            )

    told = {
        "ok": not missing,
        "published": done.published,
        "not_rejected": [str(offset) for offset in missing],
        "keep_their_verdict": done.settled,
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
