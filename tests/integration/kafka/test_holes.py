"""Offsets without a record, on a real Kafka: what a transaction leaves is explained, what was lost is not."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka.group_source import KafkaSource
from consumers.kafka.holes import Holes
from consumers.kafka.log_batches import LogBatches
from consumers.kafka.partition_reader import PartitionReader
from consumers.kafka.watermarks import Watermarks
from finance.workshop.devstack import Stack
from ledger_core.errors import Refused, Unavailable
from ledger_core.ports import Record
from tests.support.kafka import client, tls
from tests.support.lossy_topics import lose_in_the_middle
from tests.support.waits import until


class Topic:
    """Partition 0 of one topic: how it is filled, and what explains its holes."""

    def __init__(self, brokers: str, name: str) -> None:
        self.brokers, self.name = brokers, name
        self.watermarks = Watermarks(brokers, tls(brokers))
        self.written = Watermarks(brokers, {**tls(brokers), "isolation.level": "read_uncommitted"})
        self.log = LogBatches(self.watermarks.leader, tls(brokers))
        self.holes = Holes(name, lambda: self.log)
        self.asked: list[tuple[int, int]] = []

    def producer(self, *, transactional: bool = True) -> Producer:
        names = {"transactional.id": f"shop-{uuid.uuid4().hex[:8]}"} if transactional else {}
        made = Producer({**client(self.brokers), **names})
        if transactional:
            made.init_transactions(300)
            made.begin_transaction()
        return made

    def put(self, producer: Producer, count: int = 1, key: bytes = b"k") -> None:
        for _ in range(count):
            producer.produce(self.name, b"v", key, 0)
        producer.flush(300)

    def finish(self, producer: Producer, how: str) -> None:
        """Commit or abort. The client does not wait for the marker, which may then stand behind the next record."""
        before = self.written.high(self.name, 0)
        getattr(producer, f"{how}_transaction")(300)
        until("the marker is written", lambda: self.written.high(self.name, 0) == before + 1)

    def plain(self, count: int = 1, key: bytes = b"k") -> None:
        self.put(self.producer(transactional=False), count, key)

    def explain(self, partition: int, first: int, end: int) -> None:
        self.asked.append((first, end))
        self.holes.explain(partition, first, end)

    def end(self) -> int:
        return self.watermarks.high(self.name, 0)

    def read_as_the_poster_does(self) -> list[int]:
        source = KafkaSource(
            self.brokers, self.name, uuid.uuid4().hex, lambda _: 0, lambda _: None, tls(self.brokers),
            explain=self.explain,
        )  # fmt: skip
        return self._read(lambda: [record for p, group in source.poll(100, 0.05) if p == 0 for record in group], source)

    def read_as_a_replay_does(self) -> list[int]:
        reader = PartitionReader(self.brokers, self.name, 0, 0, self.end(), tls(self.brokers), explain=self.explain)
        return self._read(lambda: reader.read(100), reader)

    def _read(self, poll: Callable[[], list[Record]], source: KafkaSource | PartitionReader) -> list[int]:
        read: list[int] = []
        try:
            until("the last record", lambda: bool(read) and read[-1] == self.end() - 1,
                  between=lambda: read.extend(record.offset for record in poll()))  # fmt: skip
        finally:
            source.close()
        return read


@pytest.fixture
def topic(stack: Stack, topic_prefix: str) -> Iterator[Topic]:
    made = Topic(stack.env["KAFKA_BROKERS"], f"{topic_prefix}finance.settlements")
    yield made
    made.holes.close()
    made.watermarks.close()
    made.written.close()


def committed(topic: Topic) -> None:
    producer = topic.producer()
    topic.put(producer, 2)
    topic.finish(producer, "commit")


def aborted(topic: Topic) -> None:
    producer = topic.producer()
    topic.put(producer, 3)
    topic.finish(producer, "abort")


def side_by_side(topic: Topic) -> None:
    """Markers stand behind each other: three publishers commit or abort what they wrote in turns."""
    producers = [topic.producer() for _ in range(3)]
    for producer in producers * 2:
        topic.put(producer)
    for producer, end in zip(producers, ("commit", "abort", "commit"), strict=True):
        topic.finish(producer, end)


def around_others(topic: Topic) -> None:
    """An aborted transaction that began long before, with others' records inside of it, and its producer goes on."""
    slow = topic.producer()
    topic.put(slow)
    topic.plain(3)
    topic.put(slow, 2)
    topic.plain()
    topic.finish(slow, "abort")
    slow.begin_transaction()
    topic.put(slow, 2)
    topic.finish(slow, "commit")


def long(topic: Topic) -> None:
    """More than one answer of the broker holds."""
    producer = topic.producer()
    for _ in range(40):
        topic.put(producer, 50)
    topic.finish(producer, "abort")


# what a publisher did -> the holes in front of the record that follows, as [first, end)
EXPLAINED: dict[str, tuple[Callable[[Topic], None], list[tuple[int, int]]]] = {
    "a committed transaction": (committed, [(2, 3)]),
    "an aborted transaction": (aborted, [(0, 4)]),
    "transactions side by side": (side_by_side, [(1, 2), (4, 5), (6, 9)]),
    "a transaction around others": (around_others, [(0, 1), (4, 6), (7, 8), (10, 11)]),
    "a long aborted transaction": (long, [(0, 2001)]),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_transactions_leave_is_explained_to_every_reader(topic: Topic, name: str) -> None:
    publish, holes = EXPLAINED[name]
    publish(topic)
    topic.plain()
    for read in (topic.read_as_the_poster_does, topic.read_as_a_replay_does):
        topic.asked.clear()
        offsets = read()
        assert topic.asked == holes
        missing = {offset for first, end in holes for offset in range(first, end)}
        assert offsets == sorted({*range(topic.end())} - missing)


def test_where_nobody_works_in_transactions_nothing_is_asked(topic: Topic) -> None:
    topic.plain(300)
    assert topic.read_as_the_poster_does() == topic.read_as_a_replay_does() == [*range(300)]
    assert topic.asked == []


def test_one_record_that_was_lost_is_no_marker(topic: Topic) -> None:
    """A hole of one offset, as a marker leaves one."""
    for key in (b"a", b"again", b"b"):
        topic.plain(key=key)

    def more() -> None:
        for number in range(20):  # the broker may take the settings up a moment later
            topic.plain(key=b"again")
            topic.plain(key=b"c%d" % number)

    hole = lose_in_the_middle(topic.brokers, topic.name, more)
    assert hole == 1
    committed(topic)
    topic.plain()
    for read in (topic.read_as_the_poster_does, topic.read_as_a_replay_does):
        with pytest.raises(Refused, match=f"lost what stood at offset {hole} ") as refused:
            read()
        assert "bring the topic back" in refused.value.remedy


def test_a_beginning_that_was_deleted_is_lost(topic: Topic) -> None:
    aborted(topic)
    topic.plain(2)
    admin = AdminClient(client(topic.brokers))
    (future,) = admin.delete_records([TopicPartition(topic.name, 0, 5)]).values()
    future.result(300)
    with pytest.raises(Refused, match="lost what stood at offset 0 "):
        topic.holes.explain(0, 0, 4)


def test_a_leader_that_does_not_answer_is_waited_for(topic: Topic) -> None:
    silent = LogBatches(lambda _topic, _partition: ("127.0.0.1", 1), tls(topic.brokers))
    with pytest.raises(Unavailable, match="kafka"):
        silent.read(topic.name, 0, 0, 512)


def test_read_uncommitted_and_the_log_agree(topic: Topic) -> None:
    """The client's own reader of aborted records, as a second witness."""
    around_others(topic)
    consumer = Consumer({**client(topic.brokers), "group.id": "g", "isolation.level": "read_uncommitted"})
    consumer.assign([TopicPartition(topic.name, 0, 0)])
    seen: list[int] = []

    def read() -> None:
        seen.extend(message.offset() or 0 for message in consumer.consume(10, 0.2) if message.error() is None)

    until("all records", lambda: len(seen) == 9, between=read)
    consumer.close()
    batches = topic.log.read(topic.name, 0, 0, 2**20)
    assert batches[0].first == 0
    assert batches[-1].last == topic.end() - 1
    shown = [o for batch in batches if batch.kind != "marker" for o in range(batch.first, batch.last + 1)]
    assert shown == seen
