"""`finance audit export` and `finance audit restore`: the chain out to the archive, and back into a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console

from finance.cli.addresses import DatabaseAddress
from finance.cli.common import counting, emit, json_option, load_settings, load_topology_of, operator
from finance.cli.proving.trusted import registry_of, signers_option
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.wiring.audit_chain import ChainSource, chain_events
from ledger_core.audit.events import AuditEvent
from ledger_core.errors import Refused, Unavailable
from ledger_core.findings import Collector

EXPORTS_MAX = 100_000

file_option = click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --from file: JSON lines.",
)


def told_events(
    source: ChainSource, file: Path | None, settings: Settings, advance: Callable[[int], None]
) -> tuple[Iterator[AuditEvent], Collector]:
    """The events of a source, calling `advance` for each; and the collector of what is not an event."""
    found = Collector()
    topology = load_topology_of(settings) if source == "topic" else None
    return _told(chain_events(source, settings, topology, found, file), advance), found


def _told(events: Iterator[AuditEvent], advance: Callable[[int], None]) -> Iterator[AuditEvent]:
    for event in events:
        yield event
        advance(1)


@click.command()
@signers_option
@json_option
def export(signers: Path | None, as_json: bool) -> None:
    """Store what is published and not exported yet in the archive, under lock, now: what the archiver does by itself
    when enough events wait, or when nothing came for a while.

    Reads DATABASE_URL_ARCHIVER, S3_AUDIT_*, FINANCE_SIGNERS.

    \b
    Example:
      finance audit export
    """
    from consumers.metrics import NullMetrics
    from finance.telemetry.log_lines import configure_logging
    from finance.wiring.audit_exports import audit_exporter
    from finance.wiring.services import open_archive
    from ledger_core.postgres.session import session

    settings = load_settings()
    configure_logging(process="audit-export", log_format=settings.log_format, level=settings.log_level)
    topology = load_topology_of(settings)
    with session(settings.database_url("archiver"), application_name="finance audit export") as connection:
        archive = open_archive(settings, topology.stores["archive"].retention_mode, name="archiver")
        exporter = audit_exporter(
            settings,
            topology,
            connection,
            archive,
            registry_of(signers, settings),
            NullMetrics(),
            idle_seconds=0,
        )
        objects = 0
        while objects < EXPORTS_MAX and exporter.step():
            objects += 1
    emit(as_json, {"ok": True, "objects": objects}, lambda console: console.print(f"exported {objects} objects"))


@click.command()
@click.option("--from", "source", type=click.Choice(["topic", "s3", "file"]), required=True, help="Where the chain is.")
@file_option
@click.option("--into", type=DatabaseAddress(), help="Postgres address (owner) of the database. Default: DATABASE_URL.")
@signers_option
@json_option
def restore(source: ChainSource, file: Path | None, into: str | None, signers: Path | None, as_json: bool) -> None:
    """Bring the audit chain of a database back that lost its end, or all of it.

    Every event is verified before it is written, and must follow what stands there; a contradiction is refused. Stop
    every notary first. Run it again after any interruption: it goes on.

    \b
    Examples:
      finance audit restore --from topic
      finance audit restore --from s3 --into postgresql://owner@db/ledger_new
    """
    from consumers.audit.restore import restore_chain
    from finance.wiring.kafka import newest_audit_event
    from finance.wiring.stores import open_audit_restore_store

    settings = load_settings()
    published, registry = 0, registry_of(signers, settings)
    try:
        newest = newest_audit_event(settings, load_topology_of(settings), registry, "auditor")
        published = newest.seq if newest is not None else 0
    except (Unavailable, Refused):
        if source == "topic":
            raise
    with (
        open_audit_restore_store(into or settings.owner_database_url()) as store,
        counting("restoring audit events", "events", published or None) as advance,
    ):
        events, found = told_events(source, file, settings, lambda _count: None)
        restored = restore_chain(
            store,
            events,
            registry,
            source=source,
            actor_id=operator(settings),
            trace_id=clock.new_trace_id(),
            published_seq=published,
            advance=advance,
        )
    report = found.report()
    count = restored.last_seq - restored.first_seq + 1
    result = {
        "ok": report.sound,
        "restored": count,
        "first_seq": str(restored.first_seq),
        "last_seq": str(restored.last_seq),
        "intents_taken": restored.intents_taken,
        **report.to_json(),
    }

    def words(console: Console) -> None:
        console.print(f"restored {count:,} events; the chain ends at seq {restored.last_seq}")
        if restored.intents_taken:
            console.print(f"{restored.intents_taken} intents of the outbox were on it already, and were taken out")
        for finding in report.findings:
            console.print(str(finding), markup=False)

    emit(as_json, result, words)
    if not report.sound:
        raise click.exceptions.Exit(1)
