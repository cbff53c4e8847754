"""Reading by weight: what one read takes, what it leaves, and that no client fetches without a bound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import Message

from consumers.kafka.bounded_read import FETCH_LIMITS, PIECE_RECORDS_MAX, BoundedRead
from consumers.kafka.client_settings import CONSUMER_DEFAULTS

ROOT = Path(__file__).parents[3]


class OneMessage:
    """As much of a Kafka message as has a weight."""

    def __init__(self, number: int, size: int, headers: list[tuple[str, bytes | None]] | None = None) -> None:
        self.number, self.size, self._headers = number, size, headers

    def __len__(self) -> int:
        return self.size

    def key(self) -> bytes | None:
        return None

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def partition(self) -> int:
        return self.number % 2


class Topic:
    """What waits in a client, and the clock: a wait for nothing takes its time."""

    def __init__(self, *messages: OneMessage) -> None:
        self.waiting = list(messages)
        self.now = 0.0

    def consume(self, count: int, seconds: float) -> list[Message]:
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        if not taken:
            self.now += seconds
        return cast("list[Message]", taken)

    def read(self, reader: BoundedRead, records_max: int = 4_000) -> list[int]:
        return [cast("OneMessage", message).number for message in reader.read(records_max, 0.05)]

    def reader(self, bytes_max: int) -> BoundedRead:
        return BoundedRead(self.consume, lambda: self.now, bytes_max)


def test_small_records_are_read_up_to_their_count() -> None:
    topic = Topic(*(OneMessage(number, 200) for number in range(5_000)))
    reader = topic.reader(8_000_000)
    assert topic.read(reader) == list(range(4_000))
    assert topic.read(reader) == list(range(4_000, 5_000))
    assert topic.now == pytest.approx(0.05), "the linger is waited out"


def test_large_records_end_a_read_and_none_is_lost() -> None:
    topic = Topic(*(OneMessage(number, 1_000) for number in range(2_000)))
    reader = topic.reader(10_000)
    assert topic.read(reader) == list(range(PIECE_RECORDS_MAX)), "nothing was known of them yet"
    assert topic.read(reader) == list(range(PIECE_RECORDS_MAX, PIECE_RECORDS_MAX + 10))


def test_a_record_larger_than_the_bound_comes_alone() -> None:
    topic = Topic(*(OneMessage(number, 20_000) for number in range(PIECE_RECORDS_MAX + 2)))
    reader = topic.reader(10_000)
    topic.read(reader)
    assert topic.read(reader) == [PIECE_RECORDS_MAX]
    assert topic.read(reader) == [PIECE_RECORDS_MAX + 1]


def test_headers_weigh_as_much_as_a_value() -> None:
    topic = Topic(*(OneMessage(number, 0, [("trace", bytes(995))]) for number in range(2_000)))
    reader = topic.reader(10_000)
    topic.read(reader)
    assert len(topic.read(reader)) == 10


def test_what_was_taken_away_within_a_read_is_not_returned() -> None:
    """A rebalance runs inside of the client's call: what comes again from its start must not come twice."""
    topic = Topic(*(OneMessage(number, 1) for number in range(PIECE_RECORDS_MAX + 4)))
    reader = topic.reader(1_000_000)
    consume, calls = topic.consume, [0]

    def with_rebalance(count: int, seconds: float) -> list[Message]:
        calls[0] += 1
        if calls[0] == 2:
            reader.forget({1})
        return consume(count, seconds)

    topic.consume = with_rebalance  # type: ignore[method-assign]
    reader = topic.reader(1_000_000)
    first = range(0, PIECE_RECORDS_MAX, 2)
    assert topic.read(reader) == [*first, *range(PIECE_RECORDS_MAX, PIECE_RECORDS_MAX + 4)]


def test_no_client_reads_without_the_bounds_of_what_it_fetches() -> None:
    made = {}
    for path in [*ROOT.glob("consumers/**/*.py"), *ROOT.glob("finance/**/*.py"), *ROOT.glob("producers/**/*.py")]:
        for settings in re.findall(r"\bConsumer\(\s*\{.*?\}\s*\)|\bConsumer\(\w+\)", path.read_text(), re.DOTALL):
            made[path.name] = settings
    assert {"group_source.py", "partition_reader.py", "watermarks.py"} <= made.keys()
    assert FETCH_LIMITS.items() <= CONSUMER_DEFAULTS.items()
    for name, settings in made.items():
        assert "**FETCH_LIMITS" in settings or "**CONSUMER_DEFAULTS" in settings or "**config" in settings, name
