"""Prover and archiver on the real servers, with their own roles, a local registered key and short idle times."""

from __future__ import annotations

import copy
import datetime as dt
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consumers.archive.archiver import Archiver, ArchiverSettings
from consumers.archive.lock_terms import LockTerms
from consumers.kafka.group_source import KafkaSource
from consumers.proving.prover import Prover
from consumers.proving.prover_settings import ProverSettings
from finance.settings.deployment import Settings
from finance.wiring.kafka import journal_reader
from ledger_core.ports import ArchiveStore, Signer
from ledger_core.postgres.archive.archiver_store import PostgresArchiveStore
from ledger_core.postgres.connection import connect
from ledger_core.postgres.proving.prover_store import PostgresProverStore
from ledger_core.postgres.proving.tile_store import PostgresTileStore
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from producers.signing.local import LocalKey
from producers.signing.verified_signer import pin
from producers.storage.archive_s3 import S3ArchiveStore
from producers.storage.s3_client import s3_client
from schemas.topology.load import load_topology
from tests.support.buckets import adapter_tls
from tests.support.kafka import tls
from tests.support.prover_runs import CountingMetrics
from tests.support.signing import signer_set
from tests.support.waits import until

ROOT = Path(__file__).parents[2]


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass
class Pipeline:
    """`environ` as the fixture of that name gives it. Whoever builds a service closes it."""

    environ: dict[str, str]
    limits: RangeLimits = field(default_factory=lambda: RangeLimits(10, 60))
    idle_seconds: float = 0.5
    checkpoint_seconds: float = 0.2
    metrics: CountingMetrics = field(default_factory=CountingMetrics)
    archiving: ArchiverSettings = field(default_factory=lambda: ArchiverSettings("1"))
    retention_days: int = 2557
    cosigner: Signer | None = None
    env: str = "test"

    def __post_init__(self) -> None:
        key, second = (LocalKey.generate("ed25519", env="dev") for _ in range(2))
        kids = {"test-ed25519-1": key, "test-ed25519-2": second}
        self.registry = SignerRegistry([RegisteredSigner(kid, "ed25519", it.public_key()) for kid, it in kids.items()])
        self.signer: Signer
        self.signer, self.other_signer = (pin(it, self.registry, now=utc_now()) for it in kids.values())
        self.topic = self.environ["FINANCE_TOPIC_PREFIX"] + "finance.journal"
        self.brokers = self.environ["KAFKA_BROKERS"]

    def prover(
        self, store: type[PostgresProverStore] = PostgresProverStore, clock: Callable[[], dt.datetime] = utc_now
    ) -> Prover:
        topology = load_topology(ROOT / "topology.yaml", topic_prefix=self.environ["FINANCE_TOPIC_PREFIX"])
        connection = connect(self.environ["DATABASE_URL_PROVER"], application_name="test-prover")
        return Prover(
            store(connection),
            PostgresTileStore(connection),
            lambda start, revoked: self._source("prover", start, revoked),
            signer_set(self.signer, self.registry, metrics=self.metrics, cosigner=self.cosigner),
            ProverSettings(self.env, "example.com", self.limits, self.idle_seconds, self.checkpoint_seconds),
            read_journal=journal_reader(Settings.from_env(self.environ, ROOT), topology, "prover"),
            clock=clock,
            monotonic=time.monotonic,
            new_trace_id=lambda: uuid.uuid4().hex,
            metrics=self.metrics,
        )

    def archive(self) -> S3ArchiveStore:
        client = s3_client(
            region=self.environ["S3_AUDIT_REGION"],
            endpoint=self.environ["S3_AUDIT_ENDPOINT"],
            access_key=self.environ["S3_AUDIT_ACCESS_KEY"],
            secret=self.environ["S3_AUDIT_SECRET"],
            **adapter_tls(self.environ, "archiver"),
        )
        return S3ArchiveStore(client, self.environ["S3_AUDIT_BUCKET"], clock=utc_now)

    def archiver(
        self, store: type[PostgresArchiveStore] = PostgresArchiveStore, archive: ArchiveStore | None = None
    ) -> Archiver:
        connection = connect(self.environ["DATABASE_URL_ARCHIVER"], application_name="test-archiver")
        return Archiver(
            store(connection),
            archive or self.archive(),
            lambda start, revoked: self._source("archiver", start, revoked),
            signer_set(self.signer, self.registry, metrics=self.metrics),
            self.archiving,
            LockTerms(PostgresArchiveStore(connection), self.retention_days, clock=utc_now),
            clock=utc_now,
            monotonic=time.monotonic,
            metrics=self.metrics,
        )

    def beside(self, **changed: Any) -> Pipeline:
        """The same ledger for processes that are in no group with ours, as after a rolling restart that overlaps, with
        these fields changed."""
        other = copy.copy(self)
        other.environ = self.environ | {"FINANCE_TOPIC_PREFIX": f"{self.environ['FINANCE_TOPIC_PREFIX']}beside."}
        for name, value in changed.items():
            setattr(other, name, value)
        return other

    def _source(self, name: str, start: Callable[[int], int], revoked: Callable[[int], None]) -> KafkaSource:
        return KafkaSource(self.brokers, self.topic, self._group(name), start, revoked, tls(self.brokers))

    def _group(self, name: str) -> str:
        return self.environ["FINANCE_TOPIC_PREFIX"] + name


def step_until(service: Prover | Archiver, done: Callable[[], bool]) -> None:
    """Step a service until something is so; fail when it does not become so."""
    until(f"{service.name} gets there", done, between=service.step)
