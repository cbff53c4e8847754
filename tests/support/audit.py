"""The notary on real servers, and its chain as strangers read it: rows of the table, values of the topic."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import psycopg
from confluent_kafka import Consumer, TopicPartition

from consumers.audit.notary import AuditStore, ChainPublisher, Notary
from consumers.audit.published_chain import newest_published
from consumers.kafka.watermarks import Watermarks
from consumers.metrics import NullMetrics
from ledger_core.audit.events import AuditEvent
from ledger_core.errors import Unavailable
from ledger_core.ports import AuditIntent, Signer
from ledger_core.postgres.audit.notary_store import PostgresAuditStore
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.signing.registry import SignerRegistry
from producers.kafka import one_writer
from schemas.topology.load import load_topology
from tests.support.databases import role_url
from tests.support.kafka import client, tls
from tests.support.signing import signer_set
from tests.support.topics import TOPOLOGY
from tests.support.waits import PATIENCE_SECONDS, until

# As Kernel orders them; times as the payload spells them.
_ROWS = """
SELECT json_build_object('id', id, 'seq', seq, 'actor_id', actor_id, 'event_type', event_type, 'payload', payload,
         'prev_hash', prev_hash, 'hash', hash, 'signature', signature, 'signer_kid', signer_kid,
         'created_at', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))::text
  FROM audit_events ORDER BY created_at DESC
"""


def topic_of(environ: Mapping[str, str]) -> str:
    return environ["FINANCE_TOPIC_PREFIX"] + "finance.audit"


def intent(number: int, **payload: object) -> AuditIntent:
    fields: dict[str, object] = {"shard": 0, "source_offset": str(number), "reason": "conflict"}
    return AuditIntent("dead_letter.retried", "operator:tester", {**fields, **payload}, f"{number:032x}")


def append(database_url: str, intents: list[AuditIntent]) -> None:
    """As a command does it: with the role of operators, in one transaction."""
    with psycopg.connect(role_url(database_url, "finance_api")) as connection, connection.cursor() as cursor:
        for item in intents:
            append_intent(cursor, item)


def build_notary(
    environ: Mapping[str, str],
    signer: Signer,
    registry: SignerRegistry,
    *,
    batch_events_max: int = 200,
    store: Callable[[AuditStore], Any] = lambda store: store,
    publisher: Callable[[ChainPublisher], Any] = lambda publisher: publisher,
    publisher_options: Mapping[str, str | int | bool] | None = None,
    newest: Callable[[], AuditEvent | None] | None = None,
    others: Sequence[Signer] = (),
) -> Notary:
    """A notary with its own database role; `store` and `publisher` may wrap the real ones, to let them fail."""
    return Notary(
        store=cast(AuditStore, store(PostgresAuditStore(role_url(environ["DATABASE_URL"], "finance_notary")))),
        signers=signer_set(signer, registry, others=others),
        registry=registry,
        publisher=cast(ChainPublisher, publisher(open_publisher(environ, publisher_options))),
        newest_published=newest or (lambda: newest_of(environ, registry)),
        topic=topic_of(environ),
        batch_events_max=batch_events_max,
        new_id=lambda: str(uuid.uuid4()),
        metrics=NullMetrics(),
    )


def open_publisher(
    environ: Mapping[str, str], options: Mapping[str, str | int | bool] | None = None
) -> one_writer.OneWriterPublisher:
    """The notary's own kind, on the topic of this test."""
    transactional_id = (
        load_topology(TOPOLOGY, topic_prefix=environ["FINANCE_TOPIC_PREFIX"]).topics["audit"].transactional_id
    )
    assert transactional_id is not None
    brokers = environ["KAFKA_BROKERS"]
    return one_writer.OneWriterPublisher(brokers, transactional_id, {**tls(brokers), **(options or {})})


def newest_of(environ: Mapping[str, str], registry: SignerRegistry) -> AuditEvent | None:
    """What the audit topic holds last. A busy broker is asked again: the failures here are those of the tests."""
    watermarks = Watermarks(environ["KAFKA_BROKERS"], tls(environ["KAFKA_BROKERS"]))
    try:
        answers: list[AuditEvent | None] = []

        def answered() -> bool:  # a topic made just now has no leader yet
            with suppress(Unavailable):
                answers.append(newest_published(watermarks, topic_of(environ), registry))
            return bool(answers)

        until("the audit topic answers", answered)
        return answers[0]
    finally:
        watermarks.close()


def run_until_idle(build: Callable[[], Notary], failures_max: int = 20) -> None:
    """What run_service does, without its waits: build anew after Unavailable, until a step finds nothing to do."""
    for _ in range(failures_max):
        notary = build()
        try:
            while notary.step():
                pass
            return
        except Unavailable:
            continue
        finally:
            notary.close()
    raise AssertionError(f"still unavailable after {failures_max} tries")


def rows_newest_first(database_url: str) -> list[dict[str, Any]]:
    """The table as Kernel's verifier reads it."""
    with psycopg.connect(database_url) as connection:
        return [json.loads(row[0]) for row in connection.execute(_ROWS)]


def outbox_size(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM audit_outbox").fetchone()
    assert row is not None
    return int(row[0])


def read_topic(environ: Mapping[str, str]) -> list[tuple[bytes | None, bytes]]:
    """Every (key, value) of the audit topic, in order of offset: what is committed, as all readers see it."""
    own = {"group.id": uuid.uuid4().hex, "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer({**client(environ["KAFKA_BROKERS"]), **own})
    partition = TopicPartition(topic_of(environ), 0, 0)
    try:
        _, end = consumer.get_watermark_offsets(partition, timeout=300)
        consumer.assign([partition])
        found: list[tuple[bytes | None, bytes]] = []
        offset = 0
        while offset < end:  # the last offsets are a transaction's marker
            message = consumer.poll(PATIENCE_SECONDS)
            assert message is not None
            error = message.error()
            offset = cast(int, message.offset()) + (error is None)
            if error is None:
                found.append((message.key(), cast(bytes, message.value())))
            else:
                assert error.name() == "_PARTITION_EOF", error
        return found
    finally:
        consumer.close()
