"""Questions about many partitions are one pass over the topic, and can be asked again."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from consumers.kafka.watermarks import Watermarks
from finance.workshop.devstack import Stack
from tests.support.kafka import client, tls
from tests.support.waits import PATIENCE_SECONDS

pytestmark = pytest.mark.services

PARTITIONS = 40


@pytest.fixture
def topic(stack: Stack) -> Iterator[str]:
    """Of PARTITIONS partitions: number n holds n records, their place as value."""
    brokers, name = stack.env["KAFKA_BROKERS"], f"many.{uuid.uuid4().hex[:8]}"
    admin = AdminClient(client(brokers))
    admin.create_topics([NewTopic(name, PARTITIONS, 1)], operation_timeout=60)[name].result(PATIENCE_SECONDS)
    producer = Producer(client(brokers))
    for partition in range(PARTITIONS):
        for offset in range(partition):
            producer.produce(name, f"{partition}:{offset}".encode(), partition=partition)
    assert producer.flush(PATIENCE_SECONDS) == 0
    yield name
    admin.delete_topics([name], operation_timeout=60)[name].result(PATIENCE_SECONDS)


def test_the_first_records_of_many_partitions_come_again_and_again(stack: Stack, topic: str) -> None:
    brokers = stack.env["KAFKA_BROKERS"]
    with closing(Watermarks(brokers, tls(brokers))) as watermarks:
        for back in (1, 3, 100, 1):  # a client keeps what it was told about a partition
            spans = {partition: (max(0, partition - back), partition) for partition in range(PARTITIONS)}
            found = watermarks.first_of_each(topic, spans)
            assert {partition: message.offset() for partition, message in found.items()} == {
                partition: start for partition, (start, end) in spans.items() if start < end
            }


def test_the_newest_windows_of_many_partitions_hold_each_record_once(stack: Stack, topic: str) -> None:
    brokers = stack.env["KAFKA_BROKERS"]
    with closing(Watermarks(brokers, tls(brokers))) as watermarks:
        for offsets in (5, 1000, 5):
            window = watermarks.newest_windows(topic, range(PARTITIONS), offsets)
            found = [message.value() or b"" for message in window]
            assert sorted(found) == sorted(
                f"{partition}:{offset}".encode()
                for partition in range(PARTITIONS)
                for offset in range(max(0, partition - offsets), partition)
            )


def test_markers_behind_the_last_record_do_not_hide_it(stack: Stack, topic: str) -> None:
    brokers = stack.env["KAFKA_BROKERS"]
    producer = Producer({**client(brokers), "transactional.id": topic})
    producer.init_transactions(PATIENCE_SECONDS)
    for _ in range(7):  # each leaves a marker in three partitions, and aborted records
        producer.begin_transaction()
        for partition in (0, 1, 5):
            producer.produce(topic, b"aborted", partition=partition)
        producer.flush(PATIENCE_SECONDS)
        producer.abort_transaction(PATIENCE_SECONDS)
    with closing(Watermarks(brokers, tls(brokers))) as watermarks:
        found = [message.value() or b"" for message in watermarks.newest_windows(topic, range(6), 4)]
    assert {value[:1] for value in found} == {b"1", b"2", b"3", b"4", b"5"}
