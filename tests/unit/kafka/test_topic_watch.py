"""When a topic is checked again: behind a broken connection before anything is handed out, and at its time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consumers.kafka.topic_watch import TopicWatch
from ledger_core.errors import Refused, Unavailable


class Asked:
    def __init__(self) -> None:
        self.settings = 0
        self.partitions: list[int] = []
        self.failure: Exception | None = None
        self.now = 0.0
        self.watch = TopicWatch(self._settings, self._partitions, seconds=60, monotonic=lambda: self.now)

    def _settings(self) -> None:
        self.settings += 1
        if self.failure:
            raise self.failure

    def _partitions(self, partitions: Sequence[int]) -> None:
        self.partitions += partitions
        if self.failure:
            raise self.failure


def test_an_unbroken_reader_is_asked_nothing_before_its_time() -> None:
    asked = Asked()
    asked.watch.handing_out([0, 1])
    asked.watch.passing([0, 1])
    assert (asked.settings, asked.partitions) == (0, [])
    asked.now = 60
    asked.watch.passing([0, 1])
    asked.watch.passing([0, 1])
    assert (asked.settings, asked.partitions) == (1, [0, 1])


def test_behind_a_broken_connection_each_partition_is_checked_once_and_before_its_records() -> None:
    asked = Asked()
    asked.watch.broken([0, 1])
    asked.watch.handing_out([])
    assert asked.partitions == []
    asked.watch.handing_out([1])
    asked.watch.handing_out([1])
    assert asked.partitions == [1]
    asked.watch.forget(0)
    asked.watch.handing_out([0])
    assert asked.partitions == [1]


def test_what_could_not_be_checked_is_not_handed_out_and_is_checked_again() -> None:
    asked = Asked()
    asked.watch.broken([0])
    asked.failure = Unavailable("kafka", "no answer")
    for _ in range(2):
        with pytest.raises(Unavailable):
            asked.watch.handing_out([0])
    assert asked.partitions == [0, 0]


def test_at_its_time_no_answer_is_asked_for_again_and_a_refusal_comes_through() -> None:
    asked = Asked()
    asked.failure, asked.now = Unavailable("kafka", "no answer"), 60
    asked.watch.passing([0])
    asked.failure, asked.now = Refused("compacted", remedy="mend it"), 119
    asked.watch.passing([0])
    asked.now = 120
    with pytest.raises(Refused, match="compacted"):
        asked.watch.passing([0])
