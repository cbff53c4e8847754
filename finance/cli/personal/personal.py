"""`finance pii`: what a person may ask of us, done by two operators: forget what is known of one event's buyer."""

from __future__ import annotations

import time
from typing import Final

import click
from rich.console import Console

from finance.cli.common import emit, for_the_chain, json_option, load_settings, load_topology_of, operator
from finance.settings import clock
from finance.settings.deployment import Settings
from ledger_core.postgres.personal import erasures

FLUSH_SECONDS_MAX: Final = 30.0
BY_KEY: Final = -1  # the partition that the event id belongs to
LOOK_SECONDS: Final = 0.25


@click.group()
def command() -> None:
    """Personal data, which stand beside the ledger and never in it: two operators erase those of one event.

    \b
    Example:
      finance pii approve 018f3a52-7c1e-4a7b-9c2d-5b1e0c9a4f10 --reason "asked for by the buyer, case 7"
      finance pii erase 018f3a52-7c1e-4a7b-9c2d-5b1e0c9a4f10 --reason "asked for by the buyer, case 7"
    """


@command.command()
@click.argument("event_id")
@click.option("--reason", required=True, callback=for_the_chain, help="Why, for the audit chain; names nobody.")
@json_option
def approve(event_id: str, reason: str, as_json: bool) -> None:
    """Approve that the personal data of one event are erased, which another operator does within a day.

    The approval is an audit event in your own name (personal.erasure_approved), and erases nothing. In production the
    name is that of your certificate. Reads DATABASE_URL_API and FINANCE_OPERATOR.

    \b
    Example:
      finance pii approve 018f3a52-7c1e-4a7b-9c2d-5b1e0c9a4f10 --reason "asked for by the buyer, case 7"
    """
    settings = load_settings()
    actor_id, trace_id = operator(settings), clock.new_trace_id()
    erasures.approve(
        settings.database_url("api"), event_id=event_id, reason=reason, actor_id=actor_id, trace_id=trace_id
    )

    def words(console: Console) -> None:
        console.print(f"{actor_id} approves of erasing {event_id}")
        console.print("another operator erases it within a day: finance pii erase")

    emit(as_json, {"ok": True, "event_id": event_id, "actor_id": actor_id, "trace_id": trace_id}, words)


@command.command()
@click.argument("event_id")
@click.option("--reason", required=True, callback=for_the_chain, help="Why, for the audit chain; names nobody.")
@click.option("--unknown", is_flag=True, help="Also where nothing was posted under it: whatever comes is not kept.")
@click.option(
    "--wait", "wait_seconds", type=click.FloatRange(0), default=30.0, show_default=True, help="For the keeper, seconds."
)
@json_option
def erase(event_id: str, reason: str, unknown: bool, wait_seconds: float, as_json: bool) -> None:
    """Forget the personal data of one event, for ever: in the database, and on the side topic.

    Another operator approved of it within the last day (finance pii approve); else it is refused. First
    the decision and its audit intent (personal.erased: event id, reason and approver) are on record; then an empty
    record is published under the event id, so that the brokers drop the data within a week; then the keeper deletes the
    rows, within seconds, which this command waits for. Whatever comes of the event later, again or late, is not kept.
    The entry stays as it is: its digest says nothing without data and salt. Exit 1: rows are left, because no keeper
    runs. Run it again after any interruption. Backups keep what they hold until they are pruned (RUNBOOK, section 16).
    Reads DATABASE_URL_API, KAFKA_BROKERS and FINANCE_OPERATOR.

    \b
    Examples:
      finance pii erase 018f3a52-7c1e-4a7b-9c2d-5b1e0c9a4f10 --reason "asked for by the buyer, case 7"
      finance pii erase 018f3a52-7c1e-4a7b-9c2d-5b1e0c9a4f10 --reason "case 7" --json
    """
    settings = load_settings()
    dsn, actor_id, trace_id = settings.database_url("api"), operator(settings), clock.new_trace_id()
    said = {"event_id": event_id, "reason": reason, "actor_id": actor_id, "trace_id": trace_id}
    changed = erasures.decide(dsn, **said, unknown_too=unknown)
    _publish_erasure(settings, event_id)
    left, until = erasures.rows_left(dsn, event_id), time.monotonic() + wait_seconds
    while left and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        left = erasures.rows_left(dsn, event_id)

    def words(console: Console) -> None:
        console.print(f"{event_id} is forgotten by {actor_id}" if changed else f"{event_id} was forgotten before")
        console.print("the brokers drop what the side topic holds of it within a week")
        if left:
            console.print(f"{left} rows are left: start the keeper (finance run keeper), it deletes them at once")

    told = {
        "ok": left == 0,
        "event_id": event_id,
        "changed": changed,
        "rows_left": left,
        "actor_id": actor_id,
        "trace_id": trace_id,
    }
    emit(as_json, told, words)
    if left:
        raise click.exceptions.Exit(1)


def _publish_erasure(settings: Settings, event_id: str) -> None:
    from finance.wiring.kafka import open_publisher

    publisher = open_publisher(settings)
    try:
        topic = load_topology_of(settings).topics["personal"].name
        publisher.publish(topic, BY_KEY, key=event_id.encode(), value=None)
        publisher.flush(FLUSH_SECONDS_MAX)
    finally:
        publisher.close()
