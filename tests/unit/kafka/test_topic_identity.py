"""Whether the topic is the one a shard grew from: an answer that does not come is no answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest
from confluent_kafka import Message

from consumers.kafka.topic_identity import check_same_topic
from consumers.kafka.watermarks import Watermarks
from ledger_core.errors import Refused, Unavailable
from ledger_core.ports import NO_APPEND_TIME_MS
from ledger_core.posting.newest_record import NewestRecord, record_digest

DIGEST = record_digest(b"key", b"value")


class Told(Watermarks):
    """A broker that tells the bounds, and of the record what it is given: (offset, time), or nothing in time."""

    def __init__(self, record: tuple[int, int] | None, *, value: bytes = b"value", ends: int = 100) -> None:
        self._record = record
        self._value = value
        self._ends = ends

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, self._ends

    def first_of_each(self, topic: str, spans: Mapping[int, tuple[int, int]]) -> dict[int, Message]:
        if self._record is None:
            raise Unavailable("kafka", "no answer")
        return {partition: cast("Message", _Message(*self._record, self._value)) for partition in spans}


class _Message:
    def __init__(self, offset: int, timestamp_ms: int, value: bytes) -> None:
        self._place = offset, timestamp_ms
        self._value = value

    def offset(self) -> int:
        return self._place[0]

    def timestamp(self) -> tuple[int, int]:
        return 2, self._place[1]

    def key(self) -> bytes:
        return b"key"

    def value(self) -> bytes:
        return self._value


@pytest.mark.parametrize("newest", [(7, 1000, DIGEST), (7, 1000, None), (7, NO_APPEND_TIME_MS, DIGEST)])
def test_the_record_where_it_stood_is_the_same_topic(newest: tuple[int, int, bytes | None]) -> None:
    check_same_topic(Told((7, 1000)), "settlements", 0, NewestRecord(*newest))


OTHERS = {
    "another time": Told((7, 1001)),
    "another offset": Told((8, 1000)),
    "another value at the same time": Told((7, 1000), value=b"other"),
    "an end in front of it": Told((7, 1000), ends=7),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_record_is_another_topic(name: str) -> None:
    with pytest.raises(Refused, match="not the topic that shard 0 grew from"):
        check_same_topic(OTHERS[name], "settlements", 0, NewestRecord(7, 1000, DIGEST))


def test_a_broker_that_is_too_slow_is_waited_for_not_refused() -> None:
    """Refused would end the process, and with it every other one of `finance run all`."""
    with pytest.raises(Unavailable):
        check_same_topic(Told(None), "settlements", 0, NewestRecord(7, 1000, DIGEST))


def test_no_two_records_share_a_digest_by_where_key_and_value_meet() -> None:
    pairs = [(None, None), (b"", None), (None, b""), (b"", b""), (b"ab", b""), (b"a", b"b"), (b"", b"ab"), (b"-", None)]
    assert len({record_digest(key, value) for key, value in pairs}) == len(pairs)
