"""Real posters on the real servers: fed, run to the end of the topic, and what they left compared and recomputed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from consumers.kafka.group_source import KafkaSource
from consumers.metrics import Metrics, NullMetrics
from consumers.posting.decision import Judge, decide
from consumers.posting.poster import Poster, PosterLimits
from consumers.posting.relay import Relay, RelayTopics
from ledger_core.ports import Publisher, Record
from ledger_core.postgres.posting import poster_store
from ledger_core.postgres.posting.account_numbers import AccountNumbers
from ledger_core.postgres.posting.poster_store import PosterStore
from ledger_core.postgres.verify.ledger_reader import open_ledger_reader
from ledger_core.posting.plans import Decided, ShardHead
from ledger_core.posting.sequencing import event_ids, sequence
from ledger_core.posting.store_port import FirstRejections
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.oracle import verify_ledger
from producers.kafka.publisher import KafkaPublisher
from schemas.wire.journal import decode_journal
from tests.simulator.faults import Faults
from tests.simulator.kafka import MemoryBroker, MemoryPublisher
from tests.support.kafka import client, tls
from tests.support.plain_ledger import written
from tests.support.waits import until

SHARDS = (0, 1)
TABLES: Mapping[str, str] = {
    "shards": "shard, topic, first_offset, next_offset, seq, head_hash, accounts, posted, duplicates, rejected, rules",
    "entries": "shard, seq, event_id, source_offset, recorded_at, entry_hash, body",
    "lines": "shard, seq, line_no, account_no, side, amount_minor, currency",
    "accounts": "shard, account_no, account",
    "balances": "shard, account_no, currency, debits, credits",
    "verdicts": "shard, source_offset, verdict, reason, event_id, content_hash, first_verdict, detail, line",
    "dead_letters": "shard, source_offset, topic, timestamp_ms, key, value, headers",
}
NO_LIMIT = PosterLimits(batch_records_max=4000, linger_ms=50, dead_letters_max=10**9)


def topic_of(environ: Mapping[str, str], name: str) -> str:
    return f"{environ['FINANCE_TOPIC_PREFIX']}finance.{name}"


def publish(environ: Mapping[str, str], records: Iterable[Record]) -> None:
    """Key, value and headers of each record, into its partition; the broker gives offsets and times."""
    publisher = KafkaPublisher(environ["KAFKA_BROKERS"], tls(environ["KAFKA_BROKERS"]))
    for record in records:
        publisher.publish(
            topic_of(environ, "settlements"),
            record.partition,
            key=record.key,
            value=record.value,
            headers=record.headers,
        )
    publisher.flush(300)
    publisher.close()


def new_poster(
    environ: Mapping[str, str],
    *,
    dsn: str | None = None,
    limits: PosterLimits = NO_LIMIT,
    group: str | None = None,
    publisher: Publisher | None = None,
    metrics: Metrics | None = None,
    judge: Judge | None = None,
    store: PosterStore | None = None,
) -> Poster:
    """A poster in this process; with a `group` of its own it owns every shard, whoever else does."""
    brokers = environ["KAFKA_BROKERS"]
    topic = topic_of(environ, "settlements")
    group = group or f"{topic}.{uuid.uuid4().hex[:8]}"
    return Poster(
        topic=topic,
        open_source=lambda start, revoked: KafkaSource(brokers, topic, group, start, revoked, tls(brokers)),
        store=store or PosterStore(dsn or environ["DATABASE_URL_POSTER"]),
        relay=Relay(
            publisher or KafkaPublisher(brokers, tls(brokers)),
            RelayTopics(topic_of(environ, "journal"), topic_of(environ, "outcomes"), f"{topic}.dlq"),
        ),
        limits=limits,
        metrics=metrics or NullMetrics(),
        judge=judge,
    )


class SeesHalts(NullMetrics):
    """Whether the poster sees the halt flag set."""

    def __init__(self) -> None:
        self.halt_seen = False

    def halted(self, halted: bool) -> None:
        self.halt_seen = halted


def watched_caches(monkeypatch: pytest.MonkeyPatch) -> list[AccountNumbers]:
    """The account caches that stores make from now on."""
    made: list[AccountNumbers] = []

    def make(shard: int) -> AccountNumbers:
        made.append(AccountNumbers(shard))
        return made[-1]

    monkeypatch.setattr(poster_store, "AccountNumbers", make)
    return made


def step_until(poster: Poster, done: Callable[[], bool]) -> None:
    until("the poster gets there", done, between=poster.step)


def post_all(environ: Mapping[str, str], *, dsn: str | None = None, **options: Any) -> None:
    """Post and relay everything that the settlements topic holds, with a poster of one's own."""
    poster = new_poster(environ, dsn=dsn, **options)
    try:
        step_until(poster, lambda: is_done(environ, dsn or environ["DATABASE_URL_POSTER"]))
    finally:
        poster.close()


def post_undisturbed(environ: Mapping[str, str], dsn: str, **options: Any) -> None:
    """The same into another database, with nothing published: what the ledger must look like."""
    publisher = MemoryPublisher(MemoryBroker(), Faults())
    post_all(environ, dsn=dsn, publisher=publisher, **options)


def is_done(environ: Mapping[str, str], dsn: str) -> bool:
    ends = end_offsets(environ["KAFKA_BROKERS"], topic_of(environ, "settlements"))
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute("SELECT shard, next_offset, relayed_offset FROM shards ORDER BY shard").fetchall()
    return rows == [(shard, end, end) for shard, end in ends.items()]


def end_offsets(brokers: str, topic: str) -> dict[int, int]:
    consumer = Consumer({**client(brokers), "group.id": "never-joined"})
    try:
        return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=300)[1] for p in SHARDS}
    finally:
        consumer.close()


def read_topic(environ: Mapping[str, str], topic: str, partition: int) -> list[Record]:
    """Everything one partition holds."""
    brokers = environ["KAFKA_BROKERS"]
    end = end_offsets(brokers, topic)[partition]
    group = f"read.{uuid.uuid4().hex}"
    source = KafkaSource(brokers, topic, group, lambda _partition: 0, lambda _partition: None, tls(brokers))
    records: list[Record] = []

    def read() -> None:
        records.extend(it for number, group in source.poll(5000, 0.2) if number == partition for it in group)

    def done() -> bool:
        return len(records) >= end or bool(records and records[-1].offset + 1 >= end)

    try:
        until(f"the end of {topic}[{partition}]", done, between=read, progress=lambda: len(records))
    finally:
        source.close()
    return records


def tables(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the ledger, in order, without the columns that hold the wall clock."""
    with psycopg.connect(dsn) as connection:
        return {
            table: connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3").fetchall()
            for table, columns in TABLES.items()
        }


def rows(dsn: str, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query.encode(), parameters).fetchall()


def balances(dsn: str) -> str:
    """The balances of shard 0, each side that moved, in the order in which the accounts were opened."""
    found = rows(
        dsn,
        "SELECT account, side, amount, currency FROM balances JOIN accounts USING (shard, account_no), "
        "LATERAL (VALUES ('debit', debits), ('credit', credits)) sides (side, amount) "
        "WHERE shard = 0 AND amount > 0 ORDER BY account_no, side DESC",
    )
    return written((account, side, int(amount), currency, None) for account, side, amount, currency in found)


def check_ledger(dsn: str) -> None:
    """The oracle: chain, gapless sequences, every offset accounted for, lines, accounts and balances recomputed."""
    with open_ledger_reader(dsn) as reader:
        report = verify_ledger(reader, SignerRegistry(()))
    assert report.sound, report.findings[:5]


def check_journal(environ: Mapping[str, str], dsn: str) -> None:
    """Each shard's journal holds every entry, byte for byte; the first coming of each is in order, without a gap."""
    for shard in SHARDS:
        entries = rows(dsn, "SELECT seq, body, entry_hash FROM entries WHERE shard = %s ORDER BY seq", [shard])
        first: list[tuple[int, bytes, bytes]] = []
        for record in read_topic(environ, topic_of(environ, "journal"), shard):
            item = decode_journal(record.value or b"")
            assert item.seq <= len(first) + 1, f"a gap in the journal of shard {shard}: {item.seq} after {len(first)}"
            if item.seq == len(first) + 1:
                first.append((item.seq, item.body, item.entry_hash))
            else:
                assert first[item.seq - 1] == (item.seq, item.body, item.entry_hash)
        assert first == entries


def commit(
    store: PosterStore, head: ShardHead, records: list[Record], look: Callable[[], None] = lambda: None
) -> ShardHead:
    """Decide and commit one batch on a head; `look` runs inside the transaction, before the plan is made."""
    batch: list[Decided] = [decide(item) for item in records]
    compared, named = event_ids(batch)

    def one(alone: bool) -> ShardHead:
        with store.batch(head, alone=alone) as tx:
            known = tx.look_up(compared, named)
            look()
            return tx.write(sequence(head, batch, known), relayed_offset=head.relayed_offset).after

    try:
        return one(alone=False)
    except FirstRejections:
        return one(alone=True)
