"""The publisher's barrier on a real broker: what flush said was delivered is there, in order, also after kill -9."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from finance.workshop.devstack import Stack
from ledger_core.errors import Refused, Unavailable
from producers.kafka import publisher as publisher_kafka
from producers.kafka.publisher import KafkaPublisher
from tests.support.kafka import client, tls

pytestmark = pytest.mark.services

Make = Callable[..., KafkaPublisher]


@pytest.fixture
def topic(topic_prefix: str) -> str:
    return f"{topic_prefix}finance.journal"


@pytest.fixture
def make(stack: Stack) -> Iterator[Make]:
    """Publishers that are closed at the end, whatever happened."""
    made: list[KafkaPublisher] = []

    def build(brokers: str = stack.env["KAFKA_BROKERS"], **options: int) -> KafkaPublisher:
        named = {name.replace("_", "."): value for name, value in options.items()}
        made.append(KafkaPublisher(brokers, {**tls(brokers), **named}))
        return made[-1]

    yield build
    for publisher in made:
        publisher.close()


def _read(stack: Stack, topic: str, partition: int) -> list[tuple[bytes | None, bytes | None, object]]:
    consumer = Consumer({**client(stack.env["KAFKA_BROKERS"]), "group.id": "reader"})
    place = TopicPartition(topic, partition, 0)
    _, end = consumer.get_watermark_offsets(place, timeout=300)
    consumer.assign([place])
    found: list[tuple[bytes | None, bytes | None, object]] = []
    while len(found) < end:
        found += [(m.key(), m.value(), m.headers()) for m in consumer.consume(end - len(found), 10.0)]
    consumer.close()
    return found


def test_what_was_flushed_is_there_once_in_order_with_key_and_headers(stack: Stack, make: Make, topic: str) -> None:
    publisher = make()
    for number in range(3000):
        publisher.publish(topic, number % 2, key=None, value=b"%d" % number)
    publisher.publish(topic, 1, key=b"k", value=None, headers=(("reason", b"x"), ("none", None)))
    publisher.flush(300)
    assert [value for _, value, _ in _read(stack, topic, 0)] == [b"%d" % n for n in range(0, 3000, 2)]
    odd = _read(stack, topic, 1)
    assert [value for _, value, _ in odd[:-1]] == [b"%d" % n for n in range(1, 3000, 2)]
    assert odd[-1] == (b"k", None, [("reason", b"x"), ("none", None)])


def test_a_broker_killed_in_mid_stream_loses_nothing_that_flush_said_was_delivered(
    stack: Stack, make: Make, topic: str
) -> None:
    """As a relay works: on Unavailable a new publisher starts again after the last flush that returned."""
    total, batch = 40_000, 500
    flushed, kills_at = 0, 15_000
    killed = threading.Event()

    def crash() -> None:
        stack.kill("kafka")
        killed.set()
        time.sleep(1.0)
        stack.start("kafka")

    crasher = threading.Thread(target=crash)
    publisher = make(message_timeout_ms=4000)
    failures = 0
    try:
        while flushed < total:
            if flushed >= kills_at and not killed.is_set() and not crasher.is_alive():
                crasher.start()
            try:
                for number in range(flushed, flushed + batch):
                    publisher.publish(topic, 0, key=None, value=b"%d" % number)
                publisher.flush(3.0)
                flushed += batch
            except Unavailable:
                failures += 1
                publisher.close()
                publisher = make(message_timeout_ms=4000)
    finally:
        crasher.join()
    assert killed.is_set()
    seen = 0
    for _, value, _ in _read(stack, topic, 0):
        number = int(value or b"-1")
        assert number <= seen, f"{number} came after {seen - 1}: a gap"
        seen = max(seen, number + 1)
    assert seen == total


def test_a_publisher_that_outlives_the_outage_repeats_nothing(stack: Stack, make: Make, topic: str) -> None:
    publisher = make(message_timeout_ms=60_000)
    for number in range(1000):
        publisher.publish(topic, 0, key=None, value=b"%d" % number)
    stack.kill("kafka")
    try:
        for number in range(1000, 2000):
            publisher.publish(topic, 0, key=None, value=b"%d" % number)
        with pytest.raises(Unavailable, match="not acknowledged within"):
            publisher.flush(0.5)
    finally:
        stack.start("kafka")
    publisher.flush(300)
    assert [int(value or b"-1") for _, value, _ in _read(stack, topic, 0)] == list(range(2000))


def test_the_first_failed_delivery_is_raised_from_every_later_call(make: Make) -> None:
    publisher = make("127.0.0.1:1", message_timeout_ms=300)
    publisher.publish("t", 0, key=None, value=b"x")
    with pytest.raises(Unavailable, match="_MSG_TIMED_OUT"):
        publisher.flush(300)
    with pytest.raises(Unavailable, match="_MSG_TIMED_OUT"):
        publisher.publish("t", 0, key=None, value=b"x")
    with pytest.raises(Unavailable, match="_MSG_TIMED_OUT"):
        publisher.poll()
    with pytest.raises(Unavailable, match="_MSG_TIMED_OUT"):
        publisher.flush(0)


def test_what_waiting_cannot_mend_is_refused_with_the_remedy(make: Make, topic: str) -> None:
    too_large = make(message_max_bytes=4_000_000)
    too_large.publish(topic, 0, key=None, value=random.Random(1).randbytes(3_000_000))  # the topic takes 2 MB
    with pytest.raises(Refused, match="MSG_SIZE_TOO_LARGE") as caught:
        too_large.flush(300)
    assert "topics apply" in caught.value.remedy
    unknown_topic = make(topic_metadata_propagation_max_ms=200)
    unknown_topic.publish(f"{topic}.unknown", 0, key=None, value=b"x")
    with pytest.raises(Refused, match="unknown"):
        unknown_topic.flush(300)
    unknown_partition = make()
    unknown_partition.publish(topic, 99, key=None, value=b"x")
    with pytest.raises(Refused, match="_UNKNOWN_PARTITION"):
        unknown_partition.flush(300)


def test_a_full_queue_is_waited_for_while_the_broker_takes_records(stack: Stack, make: Make, topic: str) -> None:
    publisher = make(queue_buffering_max_messages=50)
    for number in range(2000):
        publisher.publish(topic, 0, key=None, value=b"%d" % number)
    publisher.flush(300)
    assert [int(value or b"-1") for _, value, _ in _read(stack, topic, 0)] == list(range(2000))


def test_a_queue_that_stays_full_is_unavailable(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_kafka, "ROOM_WAIT_SECONDS_MAX", 0.3)
    publisher = make("127.0.0.1:1", queue_buffering_max_messages=10)
    for _ in range(10):
        publisher.publish("t", 0, key=None, value=b"x")
    with pytest.raises(Unavailable, match="stayed full"):
        publisher.publish("t", 0, key=None, value=b"x")


def test_nothing_more_leaves_a_closed_publisher(make: Make, topic: str) -> None:
    publisher = make()
    publisher.close()
    publisher.close()
    with pytest.raises(Unavailable, match="closed"):
        publisher.publish(topic, 0, key=None, value=b"x")
