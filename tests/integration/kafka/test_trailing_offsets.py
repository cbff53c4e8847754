"""Offsets without a record at the end of a partition are no work: a transactional publisher leaves one behind each
batch, an aborted or an open transaction any number. Whoever asks how much waits, or for the newest record, sees it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from consumers.kafka.group_source import KafkaSource
from consumers.kafka.partition_reader import PartitionReader
from consumers.kafka.watermarks import Watermarks
from finance.workshop.devstack import Stack
from tests.support.kafka import client, tls
from tests.support.transactions import ENDINGS, ending
from tests.support.waits import until

MESSAGES = [(b"k", b"%d" % n) for n in range(5)]


@pytest.fixture
def brokers(stack: Stack) -> str:
    return stack.env["KAFKA_BROKERS"]


@pytest.fixture(params=ENDINGS)
def ended(request: pytest.FixtureRequest, brokers: str, topic_prefix: str) -> Iterator[tuple[str, int]]:
    """A topic whose partition 0 ends so, and the offset after its newest record."""
    topic = f"{topic_prefix}finance.settlements"
    with ending(brokers, topic, request.param, MESSAGES) as end:
        yield topic, end


def test_a_reader_at_the_end_has_nothing_waiting_and_tells_the_lag_tools_so(
    brokers: str, ended: tuple[str, int]
) -> None:
    topic, end = ended
    group = uuid.uuid4().hex
    source = KafkaSource(brokers, topic, group, lambda _partition: 0, lambda _partition: None, tls(brokers))
    read: list[int] = []

    def poll() -> None:
        for partition, records in source.poll(100, 0.05):
            read.extend(record.offset for record in records)
            source.note_done(partition, records[-1].offset + 1)

    until("nothing waits", lambda: len(read) == 5 and source.waiting(0, end) == 0, between=poll, told=lambda: str(read))
    assert source.waiting(0, end - 2) not in (None, 0), "what was read and is not done waits"
    source.seek(0, end - 2)
    until("the end once more", lambda: len(read) == 7 and source.waiting(0, end) == 0, between=poll)
    source.close()
    asking = Consumer({**client(brokers), "group.id": group})
    place = TopicPartition(topic, 0)
    committed = asking.committed([place], timeout=300)[0].offset
    assert committed == asking.get_watermark_offsets(place, timeout=300)[1], "a lag tool would see work for ever"
    asking.close()


def test_the_newest_record_is_found_in_front_of_them(brokers: str, ended: tuple[str, int]) -> None:
    topic, end = ended
    asked = Watermarks(brokers, tls(brokers))
    newest = asked.newest(topic, 0)
    assert newest is not None
    assert (newest.offset(), newest.value()) == (end - 1, b"4")
    windows = [[message.value() for message in window] for window in asked.windows_back(topic, 0, end)]
    assert next(window for window in windows if window)[-3:] == [b"2", b"3", b"4"]
    assert [record.value() for record in asked.records(topic, 0)][-3:] == [b"2", b"3", b"4"]
    first = asked.first_from(topic, 0, end - 1)
    assert first is not None
    assert first.offset() == end - 1
    assert asked.first_from(topic, 0, end) is None
    assert asked.newest(topic, 1) is None
    assert list(asked.windows_back(topic, 1, 3)) == []
    asked.close()


def test_a_reader_of_a_partition_comes_to_its_end_and_sees_no_record_of_an_unfinished_transaction(
    brokers: str, ended: tuple[str, int]
) -> None:
    topic, _ = ended
    asked = Watermarks(brokers, tls(brokers))
    reader = PartitionReader(brokers, topic, 0, *asked.bounds(topic, 0), tls(brokers), append_times=False)
    read = [record.value for records in iter(lambda: reader.read(100), []) for record in records]
    assert read == [value for _, value in MESSAGES]
    assert reader.done
    reader.close()
    asked.close()


def test_a_partition_of_nothing_but_aborted_records_has_no_newest(brokers: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}finance.settlements"
    with ending(brokers, topic, "aborted", []) as end:
        assert end == 0
        asked = Watermarks(brokers, tls(brokers))
        assert asked.bounds(topic, 0) == (0, 4)
        assert asked.newest(topic, 0) is None
        asked.close()
