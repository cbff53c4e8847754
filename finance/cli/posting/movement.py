"""`finance movement`: money that moved, from one line of JSON to the settlement event that books it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console

from finance.cli.common import counting, emit, json_option, load_settings, load_topology_of, table
from finance.settings.deployment import Settings
from ledger_core.books.chart import BadMovement
from ledger_core.books.entries import decode_entry
from ledger_core.books.movements.booking import event_of, event_of_entry
from ledger_core.books.movements.examples import booked, template
from ledger_core.books.movements.forms import DisputeLost, DisputeWon, Movement, PayoutReturned, Refund
from ledger_core.books.rule_versions import FIRST_RULES, NEWEST_RULES
from ledger_core.books.settlements import SettlementEvent
from ledger_core.errors import Refused, Rejected
from ledger_core.postgres.reading import queries
from ledger_core.postgres.reading.asking import asking
from ledger_core.postgres.reading.projection_entries import By
from ledger_core.postgres.reading.stories import ENTRIES_MAX, story_of
from ledger_core.postgres.session import session
from producers.settlement_publisher import SettlementPublisher
from schemas.read_file import lines_of, open_file
from schemas.wire.movement_json import encode_movement_json, read_movement_lines
from schemas.wire.settlement_json import encode_settlement_json

TAKES_BACK: Final = (Refund, DisputeWon, DisputeLost, PayoutReturned)

Before = Callable[[str], Sequence[SettlementEvent]]
"""Settlement id -> its posted events, in the order in which they were known."""


@click.group()
def command() -> None:
    """Book money that moved: captures, refunds, disputes, fees, payouts, returns, remittances, conversions.

    \b
    Examples:
      finance movement kinds
      finance movement publish --file movements.jsonl
    """


@command.command()
@json_option
def kinds(as_json: bool) -> None:
    """Every kind of movement, with an example of each as a line of JSON (docs/ACCOUNTS.md explains them).

    \b
    Examples:
      finance movement kinds
      finance movement kinds --json | jq -c '.kinds[].example'
    """
    examples = {it.event.event_type: it for it in booked()}  # the last of each kind
    told = [
        {"movement": kind, "books": template(it.event), "example": msgspec.json.decode(_line(it.movement))}
        for kind, it in examples.items()
    ]

    def words(console: Console) -> None:
        for it in examples.values():
            console.print(_line(it.movement).decode(), soft_wrap=True)

    emit(as_json, {"ok": True, "kinds": told}, words)


@command.command()
@click.option(
    "--file", "path", required=True, type=click.Path(exists=True, path_type=Path, allow_dash=True),
    help="JSONL, a movement a line; - is stdin.",
)  # fmt: skip
@click.option(
    "--rules", type=click.IntRange(FIRST_RULES, NEWEST_RULES), default=FIRST_RULES, show_default=True,
    help="Check events by these posting rules: those in force (`finance rules list`).",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the events, and publish nothing.")
@json_option
def publish(path: Path, rules: int, dry_run: bool, as_json: bool) -> None:
    """Publish the settlement events of movements; publishing the same ones twice posts them once.

    Each movement becomes a balanced event on accounts of the chart. One that takes something back (a refund, the end of
    a dispute, a returned payout) is compared with the settlement's events, those of the file and those in the ledger,
    and must not exceed what is left. The first bad movement stops the run (exit 1), naming its line, after what
    came before it was delivered. A movement that names no event_id gets one of settlement_id, movement, part and
    occurred_at.

    Reads KAFKA_BROKERS, FINANCE_TOPOLOGY, FINANCE_TOPIC_PREFIX; where something is taken back, DATABASE_URL_READING and
    DATABASE_URL_API too.

    \b
    Examples:
      finance movement publish --file movements.jsonl
      finance movement publish --file - --dry-run --json <refunds.jsonl
    """
    settings = load_settings()
    events: list[SettlementEvent] = []
    fault: str | None = None
    with ExitStack() as stack:
        publish_one: Callable[[SettlementEvent], object] = events.append
        if not dry_run:
            publish_one = _publisher(stack, settings, rules).publish
        try:
            for event in _events(path, lambda settlement_id: _posted(settings, settlement_id)):
                publish_one(event)
                events += [] if dry_run else [event]
        except (BadMovement, Rejected) as error:
            fault = str(error)
    _tell(events, fault, dry_run, as_json)
    if fault is not None:
        raise click.exceptions.Exit(1)


def _publisher(stack: ExitStack, settings: Settings, rules: int) -> SettlementPublisher:
    """One that has delivered everything when the stack is left."""
    topics = load_topology_of(settings).topics
    advance = stack.enter_context(counting("publishing", "events", None))
    return stack.enter_context(
        SettlementPublisher(
            settings.kafka_brokers,
            topics["settlements"].name,
            personal_topic=topics["personal"].name,
            options=settings.kafka_options("marketplace"),
            on_progress=advance,
            rules=rules,
        )
    )


def _events(path: Path, posted: Before) -> Iterator[SettlementEvent]:
    """The events of a file's movements. Raises BadMovement, naming the line."""
    known: dict[str, dict[str, SettlementEvent]] = {}  # by settlement: those in the ledger, then those of the file
    asked: set[str] = set()
    try:
        with click.open_file("-", "rb") if str(path) == "-" else open_file(path) as file:
            for number, movement in read_movement_lines(lines_of(file, str(path))):
                events = known.setdefault(movement.settlement_id, {})
                if isinstance(movement, TAKES_BACK) and movement.settlement_id not in asked:
                    asked.add(movement.settlement_id)
                    there = {it.event_id: it for it in posted(movement.settlement_id)}
                    events = known[movement.settlement_id] = there | events
                try:
                    event = event_of(movement, list(events.values()))
                except BadMovement as error:
                    raise BadMovement(f"line {number}", str(error)) from None
                events.setdefault(event.event_id, event)
                yield event
    except OSError as error:
        raise Refused(
            f"{path} cannot be read ({error.strerror})", remedy="name a JSONL file, or - for stdin"
        ) from error


def _posted(settings: Settings, settlement_id: str) -> list[SettlementEvent]:
    """What the ledger has of a settlement, as far as the read side reaches. Raises Refused, Unavailable."""
    with asking(settings.database_url("reading"), application_name="finance movement") as asked:
        story = story_of(asked, By.SETTLEMENT, settlement_id, asked.position(None))
    if story.more:
        raise Refused(
            f"settlement {settlement_id} has more entries than this command compares ({ENTRIES_MAX})",
            remedy="book it by a movement ledger.adjusted, whose lines are your own",
        )
    with session(settings.database_url("api"), application_name="finance movement", read_only=True) as connection:
        stored = [queries.entry_by_seq(connection, it.shard, it.seq) for it, _ in story.entries]
    return [event_of_entry(decode_entry(it.body)) for it in stored if it is not None]


def _line(movement: Movement) -> bytes:
    return encode_movement_json(movement)


def _tell(events: Sequence[SettlementEvent], fault: str | None, dry_run: bool, as_json: bool) -> None:
    result = {
        "ok": fault is None,
        "published": 0 if dry_run else len(events),
        "events": [msgspec.json.decode(encode_settlement_json(it)) for it in events] if dry_run else None,
        "fault": fault,
    }

    def words(console: Console) -> None:
        if dry_run and events:
            rows = [
                [it.event_type, it.settlement_id, line.account, line.side, f"{line.amount_minor:,}", line.currency]
                for it in events
                for line in it.lines
            ]
            console.print(
                table(["movement", "settlement", "account", "side", "minor units", ""], rows, right=["minor units"])
            )
        console.print(
            f"{len(events)} events, nothing was published (--dry-run)" if dry_run else f"published {len(events)} events"
        )
        if fault is not None:
            console.print(f"stopped   {fault}")

    emit(as_json, result, words)
