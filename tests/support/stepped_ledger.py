"""One ledger whose processes run inside the test on the real servers, one step at a time: it is stopped at any call,
put back to a copy of its database, and goes on.

The services are those of the wiring; each call of a store, a publisher, the archive or a key is a step of the injector
(tests/simulator/faults.py). Only the comparison of topics with the topology is left out: it takes longer than the rest.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from consumers.archive.archiver import ArchiverSettings
from consumers.audit.restore import restore_chain
from consumers.metrics import NullMetrics
from consumers.proving.prover_settings import ProverSettings
from consumers.service import Service
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.wiring import audit_exports, oracle, services, signers
from finance.wiring.audit_chain import chain_events
from finance.wiring.kafka import newest_audit_event
from finance.wiring.registry_file import read_registry
from finance.wiring.stores import open_audit_restore_store
from finance.workshop.sample_data import synthetic
from ledger_core.archive.names import exports_folder
from ledger_core.books.settlements import SettlementEvent
from ledger_core.errors import Unavailable
from ledger_core.findings import Collector, Report
from ledger_core.postgres.recovery.epochs import begin_epoch
from ledger_core.postgres.session import session
from ledger_core.verify.oracle import verify_archive, verify_audit
from producers.kafka.publisher import KafkaPublisher
from schemas.topology.load import load_topology
from schemas.topology.model import Topology
from schemas.wire.settlements import encode_settlement
from tests.simulator.faults import Faults, Mode
from tests.support import databases
from tests.support.commit_points import ON_THE_WAY
from tests.support.kafka import tls
from tests.support.route import ROOT, with_limit
from tests.support.topics import TOPOLOGY, delete_topics
from tests.support.waits import until

SHARDS = 2
POLL_SECONDS = 0.02

# Where the services meet the world: module, name, and what is away when its calls fail.
OUTSIDE: Sequence[tuple[Any, str, str]] = (
    (services, "PosterStore", "postgres"),
    (services, "PostgresProverStore", "postgres"),
    (services, "PostgresArchiveStore", "postgres"),
    (services, "PostgresAuditStore", "postgres"),
    (audit_exports, "PostgresAuditExportStore", "postgres"),
    (services, "open_publisher", "kafka"),
    (services, "open_one_writer", "kafka"),
    (services, "open_archive", "s3"),
    (signers, "key_service", "signer"),
)

FINISHED = """
SELECT (SELECT coalesce(sum(next_offset), 0) FROM shards WHERE relayed_offset = next_offset) = %(events)s
   AND (SELECT count(*) FROM shards s WHERE s.next_offset - %(left)s
           >= coalesce((SELECT max(r.next_offset) FROM ranges r WHERE r.shard = s.shard), 0)) = 0
   AND (SELECT count(*) FROM ranges) = (SELECT count(*) FROM proofs JOIN ranges USING (shard, range_no))
   AND (SELECT count(*) FROM ranges) = (SELECT count(*) FROM manifests)
   AND NOT EXISTS (SELECT 1 FROM audit_outbox)
   AND (SELECT published_seq FROM notary_cursor) = (SELECT max(seq) FROM audit_events)"""


@contextmanager
def injected(faults: Faults) -> Iterator[None]:
    """Every call that a service makes outside is a step of the injector."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, what in OUTSIDE:
            patch.setattr(module, name, _around(faults, getattr(module, name), what))
        patch.setattr(services, "check_topics", lambda *_arguments, **_named: None)
        patch.setattr(services, "ProverSettings", partial(ProverSettings, poll_seconds=POLL_SECONDS))
        archiving = partial(ArchiverSettings, poll_seconds=POLL_SECONDS, look_seconds=POLL_SECONDS)
        patch.setattr(services, "ArchiverSettings", archiving)
        yield


def _around(faults: Faults, make: Callable[..., Any], what: str) -> Callable[..., Any]:
    return lambda *arguments, **named: faults.around(make(*arguments, **named), what)


@dataclass
class SteppedLedger:
    """`environ` as the fixture of that name gives it. `sound` is False once something failed: then make another."""

    environ: dict[str, str]
    folder: Path
    faults: Faults
    published: int = 0
    sound: bool = True
    _topologies: dict[tuple[tuple[str, int], ...], Path] = field(default_factory=dict)
    _shop: KafkaPublisher | None = None

    def close(self) -> None:
        """Drop its database and its topics."""
        if self._shop is not None:
            self._shop.close()
        databases.drop_database(databases.database_at(self.url, "postgres"), self.url)
        delete_topics(self.environ["KAFKA_BROKERS"], [topic.name for topic in self.topology.topics.values()])

    @property
    def url(self) -> str:
        return self.environ["DATABASE_URL"]

    @property
    def settings(self) -> Settings:
        return Settings.from_env(self.environ, ROOT)

    def publish(self, events: int, change: Callable[[SettlementEvent], SettlementEvent] = lambda event: event) -> None:
        """New events, evenly over the shards; `change` may give them something more."""
        topic, brokers = self.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements", self.environ["KAFKA_BROKERS"]
        self._shop = self._shop or KafkaPublisher(brokers, tls(brokers))
        for number, event in enumerate(map(change, synthetic(events, first=self.published))):
            key = event.settlement_id.encode()
            self._shop.publish(topic, number % SHARDS, key=key, value=encode_settlement(event))
        self._shop.flush(300)
        self.published += events

    # --- processes -------------------------------------------------------------------------------------------------

    def build(self, name: str, limits: dict[str, int]) -> Service:
        path = self._topologies.get(key := tuple(sorted(limits.items())))
        if path is None:
            text = TOPOLOGY.read_text()
            for limit, value in limits.items():
                text = with_limit(text, limit, value)
            path = self._topologies[key] = self.folder / f"topology-{len(self._topologies)}.yaml"
            path.write_text(text)
        topology = load_topology(path, topic_prefix=self.environ["FINANCE_TOPIC_PREFIX"])
        return services.build_service(name, self.settings, topology, NullMetrics())

    def die_at(self, name: str, call: str, mode: Mode, limits: dict[str, int]) -> None:
        """One process runs until that call, which is its last."""
        before = len(self.faults.fired)
        self.faults.arm(call, mode)
        with closing(self.build(name, limits)) as service:

            def died() -> bool:
                try:
                    service.step()
                except Unavailable:
                    assert len(self.faults.fired) > before, "it failed by itself"
                return len(self.faults.fired) > before

            until(f"{name} dies at {call}", died)

    def run(self, names: Sequence[str], limits: dict[str, int], what: str, done: Callable[[], bool]) -> None:
        """These processes, a step each in turn, until something is so; whoever meets an outage is built anew."""
        built: dict[str, Service] = {}

        def turn() -> None:
            for name in names:
                try:
                    if name not in built:
                        built[name] = self.build(name, limits)
                    built[name].step()
                except Unavailable:
                    if gone := built.pop(name, None):
                        gone.close()

        try:
            until(what, done, between=turn)
        finally:
            for service in built.values():
                service.close()

    def finish(self, limits: dict[str, int]) -> None:
        """Until all is posted, proved, listed and announced, but a rest too small for a range."""
        wanted = {"events": self.published, "left": limits["range_entries_max"]}
        self.run(ON_THE_WAY, limits, "all is finished", lambda: bool(self.ask(FINISHED, wanted)))

    # --- the database ----------------------------------------------------------------------------------------------

    def ask(self, query: str, values: dict[str, int] | None = None) -> Any:
        """The first value."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(query.encode(), values).fetchone()
            return None if row is None else row[0]

    def copy(self) -> str:
        """The database as it is now: its address."""
        return databases.create_database(self.url, urlsplit(self.url).path.lstrip("/"))

    def put_back(self, copy: str, *, epoch: bool = True) -> None:
        """The database is lost, and the copy serves in its place; by default as `backup restore` leaves it."""
        name = urlsplit(copy).path.lstrip("/")
        lost = self.url
        addresses = {key: value for key, value in self.environ.items() if key.startswith("DATABASE_URL")}
        self.environ |= {key: databases.database_at(value, name) for key, value in addresses.items()}
        databases.drop_database(copy, lost)
        if epoch:
            with session(self.url, application_name="test") as connection:
                names = {"epoch_id": str(uuid.uuid4()), "actor_id": "operator:t", "trace_id": "t"}
                begin_epoch(connection, kind="restore", reason="lost", **names)

    def restore_chain(self) -> None:
        """As `finance audit restore --from topic`."""
        settings, topology = self.settings, self.topology
        registry = read_registry(settings.signers_path)
        newest = newest_audit_event(settings, topology, registry, "auditor")
        if newest is None:
            return
        with open_audit_restore_store(self.url) as store:
            restore_chain(
                store,
                chain_events("topic", settings, topology, Collector()),
                registry,
                source="topic",
                actor_id="operator:t",
                trace_id=clock.new_trace_id(),
                published_seq=newest.seq,
                advance=lambda _count: None,
            )

    @property
    def topology(self) -> Topology:
        return load_topology(TOPOLOGY, topic_prefix=self.environ["FINANCE_TOPIC_PREFIX"])

    # --- judging ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """The oracle finds nothing in ledger, archive, audit chain and its exports."""
        settings, registry = self.settings, read_registry(self.settings.signers_path)
        archive = services.open_archive(settings)
        told: list[Report] = [
            oracle.check_ledger_of(settings, registry, lambda _count: None),
            verify_archive(archive, settings.env, registry),
            oracle.check_audit_of(settings, self.topology, registry, lambda _count: None),
        ]
        if archive.versions(exports_folder(settings.env)):
            found = Collector()
            told.append(verify_audit(chain_events("s3", settings, None, found), registry, found=found))
        for report in told:
            assert report.sound, report.findings[:5]
