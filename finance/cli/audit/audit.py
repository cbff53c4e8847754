"""`finance audit`: the audit chain read, verified, exported and restored, from wherever it stands."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from finance.cli.audit.copies import export, file_option, restore, told_events
from finance.cli.audit.set_aside import command as set_aside
from finance.cli.common import EndMoment, Moment, counting, emit, json_option, load_settings, load_topology_of, table
from finance.cli.findings import tell
from finance.cli.proving.trusted import registry_of, signers_option
from finance.settings.deployment import Settings
from finance.wiring.audit_chain import ChainSource, chain_events
from ledger_core.audit.events import AuditEvent
from ledger_core.audit.sources import along
from ledger_core.audit.state import AuditState
from ledger_core.findings import Collector, Report
from ledger_core.times import format_time
from ledger_core.verify.oracle import AuditHead, verify_audit

SHOWN_MAX = 100_000

from_option = click.option(
    "--from", "source", type=click.Choice(["db", "topic", "s3", "file"]), required=True, help="Where the chain is read."
)


@click.group()
def command() -> None:
    """The audit chain: verify it, read it again, export it to the archive, bring it back into a database.

    \b
    Examples:
      finance audit verify --from s3
      finance audit replay --from db --type ledger.halted
      finance audit restore --from topic
    """


@command.command()
@from_option
@file_option
@click.option(
    "--against",
    type=click.Choice(["db", "topic", "s3"]),
    multiple=True,
    help="Compare with this copy, event by event. Default: db with topic, s3 with topic, topic with db.",
)
@click.option("--alone", is_flag=True, help="Compare with no other copy.")
@click.option("--expect-seq", type=click.IntRange(1), help="The chain must reach this seq: the count of events.")
@click.option("--expect-hash", help="The hash at --expect-seq, lower-case hex.")
@signers_option
@json_option
def verify(
    source: ChainSource,
    file: Path | None,
    against: tuple[ChainSource, ...],
    alone: bool,
    expect_seq: int | None,
    expect_hash: str | None,
    signers: Path | None,
    as_json: bool,
) -> None:
    """Chain, signatures, head and count of one copy, compared with another copy or with a head you know.

    A chain that was cut off at its end seems whole; so does an empty one to whoever does not count. Exit 1: findings.
    Reads FINANCE_SIGNERS and, as needed, DATABASE_URL_AUDITOR, KAFKA_BROKERS, S3_AUDIT_*.

    \b
    Examples:
      finance audit verify --from db
      finance audit verify --from s3 --against topic --against db
      finance audit verify --from file --file audit_events.jsonl --signers signers.json --expect-seq 1200
    """
    if expect_hash is not None and expect_seq is None:
        raise click.UsageError("--expect-hash needs --expect-seq")
    settings = load_settings()
    others: tuple[ChainSource, ...] = () if alone else against or _default_others(source)
    expected = [] if expect_seq is None else [AuditHead(expect_seq, expect_hash)]
    started = time.perf_counter()
    with counting("reading audit events", "events", None) as advance:
        events, found = told_events(source, file, settings, advance)
        for other in others:
            if other == source:
                raise click.UsageError("--against names the copy that is verified")
            theirs = chain_events(other, settings, load_topology_of(settings), Collector())
            # The archive is behind by design, and the topic by what is about to be published.
            events = along(events, theirs, other, found, must_reach=source not in ("s3", "topic"))
        report = verify_audit(events, registry_of(signers, settings), expected=expected, found=found)
        report = _with_reach(source, others, settings, report, found)
    tell(report, time.perf_counter() - started, as_json)


def _default_others(source: ChainSource) -> tuple[ChainSource, ...]:
    return {"db": ("topic",), "s3": ("topic",), "topic": ("db",), "file": ()}[source]  # type: ignore[return-value]


def _with_reach(
    source: ChainSource, others: tuple[ChainSource, ...], settings: Settings, report: Report, found: Collector
) -> Report:
    """How far archive and topic must reach, as the database says: what was exported, and what was published."""
    if "db" not in others or source not in ("s3", "topic"):
        return report
    from ledger_core.postgres.reading.progress import audit_reach
    from ledger_core.postgres.session import session

    with session(settings.database_url("auditor"), application_name="finance audit", read_only=True) as connection:
        exported, published = audit_reach(connection)
    wanted, have = exported if source == "s3" else published, report.counts.get("events", 0)
    if have < wanted:
        found.add("audit.truncated", f"it ends after {have} events, the database says {wanted}", seq=have, field="seq")
    return found.report()


@command.command()
@from_option
@file_option
@click.option("--type", "types", multiple=True, help="Only events of this type; may be repeated.")
@click.option("--actor", help="Only events of this actor_id.")
@click.option("--since", type=Moment(), help="Only events created from then on.")
@click.option("--until", type=EndMoment(), help="Only events created up to this day (included), or before this time.")
@click.option("--trace-id", help="Only events of this trace.")
@click.option("--limit", type=click.IntRange(1, SHOWN_MAX), default=1000, show_default=True, help="Show so many.")
@signers_option
@json_option
def replay(
    source: ChainSource,
    file: Path | None,
    types: tuple[str, ...],
    actor: str | None,
    since: dt.datetime | None,
    until: dt.datetime | None,
    trace_id: str | None,
    limit: int,
    signers: Path | None,
    as_json: bool,
) -> None:
    """Read the events again, in Kernel's order (created_at), and say what they add up to: halted or not, by whom it was
    signed, how many of each type.

    Everything is verified on the way, also what is not shown. Exit 1: findings.

    \b
    Examples:
      finance audit replay --from db --type ledger.halted --type ledger.resumed
      finance audit replay --from s3 --since 2025-11-01 --until 2025-12-01 --json
    """
    settings = load_settings()
    shown: list[AuditEvent] = []
    state = AuditState()

    def wanted(event: AuditEvent) -> bool:
        return (
            (not types or event.event_type in types)
            and (actor is None or event.actor_id == actor)
            and (since is None or event.created_at >= since)
            and (until is None or event.created_at < until)
            and (trace_id is None or event.payload.get("trace_id") == trace_id)
        )

    def looked_at(events: Iterator[AuditEvent]) -> Iterator[AuditEvent]:
        for event in events:
            state.take(event)
            if wanted(event) and len(shown) < limit:
                shown.append(event)
            yield event

    with counting("reading audit events", "events", None) as advance:
        events, found = told_events(source, file, settings, advance)
        report = verify_audit(looked_at(events), registry_of(signers, settings), found=found)

    def words(console: Console) -> None:
        rows = [(format_time(e.created_at), e.seq, e.event_type, e.actor_id, _about(e)) for e in shown]
        console.print(table(("created at", "seq", "type", "actor", "about"), rows, right=("seq",)))
        for name, value in state.to_json().items():
            console.print(f"{name.replace('_', ' ')}: {value}")
        for finding in report.findings:
            console.print(str(finding))

    told = [{**_plain(event), "payload": event.payload} for event in shown]
    emit(as_json, {"ok": report.sound, "events": told, "state": state.to_json(), **report.to_json()}, words)
    if not report.sound:
        raise click.exceptions.Exit(1)


def _about(event: AuditEvent) -> str:
    own = ("id", "seq", "event_type", "actor_id", "created_at")
    return ", ".join(f"{name}={value}" for name, value in event.payload.items() if name not in own)[:160]


def _plain(event: AuditEvent) -> dict[str, object]:
    names = ("id", "event_type", "actor_id", "hash", "prev_hash", "signature", "signer_kid")
    times = {"seq": str(event.seq), "created_at": format_time(event.created_at)}
    return {**times, **{name: getattr(event, name) for name in names}}


command.add_command(export)
command.add_command(set_aside)
command.add_command(restore)
