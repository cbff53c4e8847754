"""Whether the topic is the one a shard grew from: an answer that does not come is no answer."""

from __future__ import annotations

from typing import cast

import pytest
from confluent_kafka import Message

from consumers.kafka.topic_identity import check_same_topic
from consumers.kafka.watermarks import Watermarks
from ledger_core.errors import Refused, Unavailable


class Told(Watermarks):
    """A broker that tells the bounds, and of the record what it is given: (offset, time), or nothing in time."""

    def __init__(self, record: tuple[int, int] | None) -> None:
        self._record = record

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, 100

    def message_at(self, topic: str, partition: int, offset: int) -> Message:
        if self._record is None:
            raise Unavailable("kafka", "no answer")
        return cast("Message", _Message(*self._record))


class _Message:
    def __init__(self, offset: int, timestamp_ms: int) -> None:
        self._place = offset, timestamp_ms

    def offset(self) -> int:
        return self._place[0]

    def timestamp(self) -> tuple[int, int]:
        return 2, self._place[1]


def test_the_record_where_it_stood_is_the_same_topic() -> None:
    check_same_topic(Told((7, 1000)), "settlements", 0, 7, 1000)


@pytest.mark.parametrize("record", [(7, 1001), (8, 1000)], ids=["another time", "another offset"])
def test_another_record_is_another_topic(record: tuple[int, int]) -> None:
    with pytest.raises(Refused, match="not the topic that shard 0 grew from"):
        check_same_topic(Told(record), "settlements", 0, 7, 1000)


def test_a_broker_that_is_too_slow_is_waited_for_not_refused() -> None:
    """Refused would end the process, and with it every other one of `finance run all`."""
    with pytest.raises(Unavailable):
        check_same_topic(Told(None), "settlements", 0, 7, 1000)
