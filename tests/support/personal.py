"""The keeper on real servers: records on the side topic, entries with a digest, and what is kept of both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import psycopg

from consumers.metrics import Metrics, NullMetrics
from consumers.personal.keeper import Keeper, Store
from finance.settings.deployment import Settings
from finance.wiring.kafka import source_opener
from ledger_core.books.personal import sealed
from ledger_core.postgres.connection import connect
from ledger_core.postgres.personal.keeper_store import KeeperStore
from producers.kafka.publisher import KafkaPublisher
from schemas.topology.load import load_topology
from schemas.wire.personal import encode_personal
from tests.support.databases import role_url
from tests.support.kafka import tls
from tests.support.settlements import event_id
from tests.support.topics import TOPOLOGY
from tests.support.waits import until

SALT = bytes(range(16))
WAITING_DAYS = 30


def data(n: int, name: str = "Zoe") -> dict[str, str]:
    return {"buyer": f"{name} {n}"}


def digest(n: int, name: str = "Zoe") -> bytes:
    return sealed(data(n, name), SALT).digest


def record(n: int, name: str = "Zoe") -> tuple[bytes, bytes | None]:
    """Key and value of event n's personal data; another name is another digest."""
    return event_id(n).encode(), encode_personal(event_id(n), data(n, name), SALT)


def erasure(n: int) -> tuple[bytes, bytes | None]:
    return event_id(n).encode(), None


def say(environ: Mapping[str, str], *records: tuple[bytes, bytes | None], partition: int = 0) -> None:
    """Put records on the side topic, in this order."""
    with closing(KafkaPublisher(environ["KAFKA_BROKERS"], tls(environ["KAFKA_BROKERS"]))) as publisher:
        for key, value in records:
            publisher.publish(topic_of(environ), partition, key=key, value=value)
        publisher.flush(300)


def topic_of(environ: Mapping[str, str]) -> str:
    return environ["FINANCE_TOPIC_PREFIX"] + "finance.personal"


def post(url: str, n: int, digest: bytes | None, metadata: str = "{}") -> None:
    """An entry of event n, as far as the keeper may know of it."""
    told = "" if digest is None else f'"pii_digest":"{digest.hex()}",'
    body = (
        f'{{"event_id":"{event_id(n)}","event_type":"settlement.captured","lines":[],"metadata":{metadata},'
        f'"occurred_at":"2025-11-01T12:00:00.000000Z","order_id":"or_{n}",{told}'
        f'"recorded_at":"2025-11-01T12:00:00.000000Z","seq":"{n}"}}'
    ).encode()
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO entries (shard, seq, event_id, source_offset, recorded_at, entry_hash, body) "
            "VALUES (0, %s, %s::uuid, %s, now(), %s, %s)",
            (n, event_id(n), n, hashlib.sha256(body).digest(), body),
        )


def keeper(
    environ: Mapping[str, str],
    store: Callable[[Store], Any] = lambda store: store,
    batch_records_max: int = 2000,
    metrics: Metrics | None = None,
) -> Keeper:
    """A keeper with its own database role; `store` may wrap the real one, to let it fail."""
    settings = Settings.from_env(environ, Path.cwd())
    topology = load_topology(TOPOLOGY, topic_prefix=environ["FINANCE_TOPIC_PREFIX"])
    connection = connect(role_url(environ["DATABASE_URL"], "finance_keeper"), application_name="finance-keeper")
    return Keeper(
        cast(Store, store(KeeperStore(connection, WAITING_DAYS))),
        source_opener("keeper", settings, topology),
        end_of=lambda _partition, offset: offset + 1,
        batch_records_max=batch_records_max,
        metrics=metrics or NullMetrics(),
    )


def keep_until(environ: Mapping[str, str], done: Callable[[], bool], **wanted: Any) -> None:
    """Let one keeper work until something is so."""
    with closing(keeper(environ, **wanted)) as one:
        until("the keeper is done", done, between=one.step)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def kept(url: str) -> dict[str, bytes]:
    """Event id -> personal data, of what is kept."""
    return dict(cast(list[tuple[str, bytes]], rows(url, "SELECT event_id::text, pii FROM personal_data WHERE kept")))


def waiting(url: str) -> int:
    return len(rows(url, "SELECT FROM personal_data WHERE NOT kept"))


def refused(url: str) -> list[tuple[int, str, bytes | None]]:
    """Offset, reason and digest, in order."""
    query = "SELECT source_offset, reason, digest FROM personal_refused ORDER BY source_partition, source_offset"
    return cast(list[tuple[int, str, bytes | None]], rows(url, query))


def read_to(url: str, partition: int = 0) -> int:
    found = rows(url, f"SELECT next_offset FROM personal_cursors WHERE source_partition = {partition}")
    return int(found[0][0]) if found else 0
