"""The wiring: the one place that names concrete adapters and puts them together from settings and topology.

Guarantees: a service is built only when what it rests on is as it must be: topics with the partitions and the timestamp
type of the topology, a signing key that the registry holds, a bucket that locks. Else Refused, with the remedy.
Does not: run anything (`consumers.service.run_service` does) or hold state: what it builds belongs to the caller.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from consumers.archive.archiver import Archiver, ArchiverSettings
from consumers.audit.notary import Notary
from consumers.metrics import Metrics
from consumers.posting.poster import Poster, PosterLimits
from consumers.posting.relay import Relay, RelayTopics
from consumers.posting.retelling import Retelling, RetellingSource
from consumers.proving.prover import Prover
from consumers.proving.prover_settings import ProverSettings
from consumers.proving.published_guard import PublishedGuard, PublishedRange
from consumers.proving.published_ranges import in_both, newest_in_archive
from consumers.service import Backoff, Service
from finance.settings import clock
from finance.settings.backup import BucketSettings, backup_bucket_settings
from finance.settings.deployment import ArchiveSettings, Settings
from finance.settings.extras import needs_extra
from finance.settings.mac_waiver import waiver_text
from finance.wiring.audit_exports import audit_exporter, lock_terms
from finance.wiring.kafka import (
    check_topics,
    journal_reader,
    newest_audit_event,
    open_one_writer,
    open_publisher,
    published_topic,
    reported_outcomes,
    settlements_opener,
    source_opener,
)
from finance.wiring.mac_keys import trusted_registry
from finance.wiring.personal import build_keeper
from finance.wiring.reading import build_projector
from finance.wiring.registry_file import read_registry
from finance.wiring.signers import open_signers
from finance.wiring.stores import check_is_ledger
from ledger_core.audit.admission import REASON_CHARS_MAX, respelled
from ledger_core.errors import Refused
from ledger_core.postgres.archive.archiver_store import PostgresArchiveStore
from ledger_core.postgres.audit.notary_store import PostgresAuditStore
from ledger_core.postgres.connection import connect
from ledger_core.postgres.posting import control
from ledger_core.postgres.posting.poster_store import PosterStore
from ledger_core.postgres.proving.held_ranges import PostgresHeldRanges
from ledger_core.postgres.proving.prover_store import PostgresProverStore
from ledger_core.postgres.proving.tile_store import PostgresTileStore
from ledger_core.postgres.schema.authority import READ_SIDE
from ledger_core.posting.activation import RulesJudge
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.signing.purposes import SIGNED_BY
from producers.storage.archive_file import FileArchiveStore
from producers.storage.backup_folder import BackupFolder
from schemas.topology.model import Topology

if TYPE_CHECKING:  # boto3 is the extra [aws]: imported when a store on S3 is asked for
    from mypy_boto3_s3 import S3Client

    from producers.storage.archive_s3 import S3ArchiveStore
    from producers.storage.backup_s3 import BackupBucket

Build = Callable[[Settings, Topology, Metrics], Service]


def build_service(name: str, settings: Settings, topology: Topology, metrics: Metrics) -> Service:
    """Build one of the processes of the topology. Raises Refused, Unavailable; KeyError on an unknown name."""
    if name not in READ_SIDE:  # what it keeps is of topics, wherever it stands
        check_is_ledger(settings.database_url(name))
    return BUILDERS[name](settings, topology, metrics)


def backoff(topology: Topology) -> Backoff:
    """How long a service waits before it is built anew."""
    return Backoff(topology.limits.retry_delay_ms_min, topology.limits.retry_delay_ms_max)


def build_poster(settings: Settings, topology: Topology, metrics: Metrics) -> Service:
    """The poster, on topics that are as the topology says."""
    check_topics(settings, topology, ("settlements", "journal", "outcomes", "dead_letters"), name="poster")
    names = {key: topic.name for key, topic in topology.topics.items()}
    limits = topology.limits
    with ExitStack() as undo:  # what was opened is closed when the rest cannot be: builds are retried for hours
        store = PosterStore(settings.database_url("poster"))
        undo.callback(store.close)
        shards = range(topology.topics["settlements"].partitions)
        retelling = Retelling(reported_outcomes(settings, topology, metrics.progress), shards, store.next_offsets)
        judge = RulesJudge(settings.env, read_registry(settings.signers_path), retelling.activated)
        open_source = settlements_opener(settings, topology, store.newest_record)
        poster = Poster(
            topic=names["settlements"],
            open_source=lambda start, revoked: RetellingSource(open_source(start, revoked), retelling),
            plan=retelling.plan,
            judge=judge,
            store=store,
            relay=Relay(
                open_publisher(settings, "poster"),
                RelayTopics(names["journal"], names["outcomes"], names["dead_letters"]),
                on_slow=metrics.unavailable,
                reported_to=retelling.end,
            ),
            limits=PosterLimits(
                batch_records_max=limits.poster_batch_records_max,
                linger_ms=limits.poster_linger_ms,
                dead_letters_max=limits.poster_dead_letters_max,
                dead_letter_window_records=limits.poster_dead_letter_window_records,
            ),
            metrics=metrics,
        )
        undo.pop_all()
    return poster


def build_prover(settings: Settings, topology: Topology, metrics: Metrics) -> Service:
    """The prover, with a registered key."""
    check_topics(settings, topology, ("journal",), name="prover")
    limits = topology.limits
    with ExitStack() as undo:
        registry = trusted_registry(settings, name="prover")
        signers = open_signers(settings, topology, registry, metrics, name="prover", signs=SIGNED_BY["prover"])
        undo.callback(signers.close)
        connection = connect(settings.database_url("prover"), application_name="finance-prover")
        undo.callback(connection.close)
        archive = open_archive(settings, name="prover")
        held = PostgresHeldRanges(connection)
        topic = published_topic(settings, topology, registry, held, "prover", metrics.progress)

        def published(shard: int, proved_no: int) -> list[PublishedRange]:
            told = topic.ranges(shard, proved_no)
            in_archive = newest_in_archive(shard, proved_no, archive, settings.env, registry)
            return in_both(told.ranges, in_archive, more=told.more)

        prover = Prover(
            PostgresProverStore(connection),
            PostgresTileStore(connection),
            source_opener("prover", settings, topology),
            signers,
            ProverSettings(
                env=settings.env,
                domain=settings.domain,
                limits=RangeLimits(limits.range_entries_max, limits.range_window_seconds, limits.range_bytes_max),
                idle_seconds=limits.range_idle_seconds,
                checkpoint_seconds=limits.checkpoint_interval_ms / 1000,
                mac_waiver=waiver_text(settings),
            ),
            read_journal=journal_reader(settings, topology, "prover"),
            clock=clock.utc_now,
            monotonic=time.monotonic,
            new_trace_id=clock.new_trace_id,
            metrics=metrics,
            guard=PublishedGuard(
                published,
                held,
                monotonic=time.monotonic,
                metrics=metrics,
            ),
        )
        undo.pop_all()
    return prover


def build_archiver(settings: Settings, topology: Topology, metrics: Metrics) -> Service:
    """The archiver, on a bucket that really locks, with a registered key."""
    check_topics(settings, topology, ("journal",), name="archiver")
    spec = topology.stores["archive"]
    with ExitStack() as undo:
        registry = trusted_registry(settings, name="archiver")
        signers = open_signers(settings, topology, registry, metrics, name="archiver", signs=SIGNED_BY["archiver"])
        undo.callback(signers.close)
        connection = connect(settings.database_url("archiver"), application_name="finance-archiver")
        undo.callback(connection.close)
        archive = open_archive(settings, spec.retention_mode, name="archiver")
        archiver = Archiver(
            PostgresArchiveStore(connection),
            archive,
            source_opener("archiver", settings, topology),
            signers,
            ArchiverSettings(
                pii_policy_version=spec.pii_policy_version,
                canary_seconds=topology.limits.archive_canary_seconds,
            ),
            lock_terms(connection, topology),
            clock=clock.utc_now,
            monotonic=time.monotonic,
            metrics=metrics,
            exporter=audit_exporter(settings, topology, connection, archive, registry, metrics),
            guard=PublishedGuard(
                lambda shard, held_no: newest_in_archive(shard, held_no, archive, settings.env, registry),
                PostgresHeldRanges(connection),
                monotonic=time.monotonic,
                metrics=metrics,
            ),
        )
        undo.pop_all()
    return archiver


def build_notary(settings: Settings, topology: Topology, metrics: Metrics) -> Service:
    """The notary, with a registered key. It begins once it has read from Kafka what is published."""
    check_topics(settings, topology, ("audit",), name="notary")
    with ExitStack() as undo:
        registry = trusted_registry(settings, name="notary")
        signers = open_signers(settings, topology, registry, metrics, name="notary", signs=SIGNED_BY["notary"])
        undo.callback(signers.close)
        store = PostgresAuditStore(settings.database_url("notary"))
        undo.callback(store.close)
        notary = Notary(
            store=store,
            signers=signers,
            registry=registry,
            publisher=open_one_writer(settings, topology.topics["audit"], "notary"),
            newest_published=lambda: newest_audit_event(settings, topology, registry, "notary"),
            topic=topology.topics["audit"].name,
            batch_events_max=topology.limits.notary_batch_events_max,
            new_id=clock.new_id,
            metrics=metrics,
        )
        undo.pop_all()
    return notary


BUILDERS: Mapping[str, Build] = {
    "poster": build_poster,
    "prover": build_prover,
    "archiver": build_archiver,
    "notary": build_notary,
    "keeper": build_keeper,
    "projector": build_projector,
}


def halt_posting(name: str, settings: Settings, reason: str) -> None:
    """Halt all posting as the process `name`. Raises Unavailable and Refused."""
    words = respelled(reason)[:REASON_CHARS_MAX]
    control.halt(settings.database_url(name), reason=words, actor_id=f"service:{name}", trace_id=clock.new_trace_id())


def open_archive(
    settings: Settings,
    mode: Literal["COMPLIANCE", "GOVERNANCE"] = "COMPLIANCE",
    *,
    name: str = "auditor",
    bucket: str | None = None,
) -> S3ArchiveStore:
    """The audit archive of this deployment (or another bucket of its store), for reading unless `name` is the archiver.

    Raises Refused.
    """
    archive = settings.archive(name)
    with needs_extra():
        from producers.storage.archive_s3 import S3ArchiveStore
    return S3ArchiveStore(_client_of(archive), bucket or archive.bucket, clock=clock.utc_now, mode=mode)


def _client_of(s3: ArchiveSettings | BucketSettings) -> S3Client:
    with needs_extra():
        from producers.storage.s3_client import s3_client
    return s3_client(
        region=s3.region,
        endpoint=s3.endpoint,
        access_key=s3.access_key,
        secret=s3.secret,
        ca_file=s3.tls.ca_file,
        client_pair=s3.tls.client_pair,
    )


def open_backup_place(address: str, settings: Settings) -> BackupFolder | BackupBucket:
    """Where backups and WAL lie: `s3://bucket/prefix`, or a folder. Raises Refused."""
    parts = urlsplit(address)
    if parts.scheme == "s3" and parts.netloc:
        s3 = backup_bucket_settings(settings)
        with needs_extra():
            from producers.storage.backup_s3 import BackupBucket
        client, prefix = _client_of(s3), parts.path.strip("/")
        return BackupBucket(
            client, parts.netloc, prefix, clock=clock.utc_now, mode=s3.lock_mode, retain_days=s3.retain_days
        )
    if "://" in address:
        raise Refused(f"{address} is not a place for backups", remedy="name s3://bucket/prefix, or a folder")
    return BackupFolder(Path(address), clock=clock.utc_now)


def open_archive_folder(folder: Path) -> FileArchiveStore:
    """A bundle of the archive in a directory, for reading."""
    return FileArchiveStore(folder, read_only=True)
