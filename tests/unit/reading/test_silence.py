"""Up to when a shard is silent: only where everything that the settlements topic had is decided and projected."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from consumers.reading.silence import SLACK_US, Silence
from ledger_core.reading.fold import ShardReach
from ledger_core.reading.verdicts import OutcomeReach

NOW = 10**15


@dataclass
class Topics:
    """What is decided of a shard, and what its settlements topic has."""

    heard: OutcomeReach = field(default_factory=lambda: OutcomeReach(0))
    newest: int | None = None  # settlements offset of the newest projected entry
    rejected: set[int] = field(default_factory=set)
    low: int = 0
    records: set[int] = field(default_factory=set)  # offsets of the topic that hold a record
    end: int = 0

    def reach(self, shard: int) -> OutcomeReach:
        assert shard == 0
        return self.heard

    def newest_offset(self, shard: int, seq: int) -> int | None:
        return self.newest

    def count_between(self, shard: int, first: int, end: int) -> int:
        return len(self.rejected & set(range(first, end)))

    def bounds(self, shard: int) -> tuple[int, int]:
        return self.low, self.end

    def holds_record(self, shard: int, first: int, end: int) -> bool:
        return bool(self.records & set(range(first, end)))


FULL = set(range(10))


@pytest.mark.parametrize(
    ("topics", "silent"),
    [
        (Topics(), True),
        (Topics(OutcomeReach(0, 10, 0, 10), 9, records=FULL, end=10), True),
        (Topics(OutcomeReach(0, 10, 0, 10), 8, records=FULL, end=10), False),  # an entry is not projected yet
        (Topics(OutcomeReach(0, 9, 0, 9), 8, records=FULL, end=10), False),  # a record is not decided
        (Topics(OutcomeReach(0, 9, 0, 9), 8, records=FULL - {9}, end=10), True),  # the end of a transaction
        (Topics(OutcomeReach(0, 10, 0, 10), 7, {8, 9}, records=FULL, end=10), True),
        (Topics(OutcomeReach(0, 10, 0, 10), 7, {8}, records=FULL, end=10), False),
        (Topics(OutcomeReach(0, 10, 9, 10), 7, {8, 9}, records=FULL, end=10), False),  # what was before 9 is forgotten
        (
            Topics(OutcomeReach(0, 10, 0, 10), 9, low=12, records={12}, end=13),
            False,
        ),  # the topic lost what was not read
        (Topics(OutcomeReach(0, 30, 0, 30), 29, records=FULL, end=10), False),  # another topic
        (Topics(low=5, records={5}, end=6), False),
        (Topics(low=6, end=6), True),
    ],
)
def test_a_shard_is_silent_once_nothing_more_can_come_of_what_its_topic_had(topics: Topics, silent: bool) -> None:
    silence = Silence(topics, topics, lambda: NOW)
    for _ in range(2):  # what was counted once is remembered
        assert silence(ShardReach(0, 8)) == (NOW - SLACK_US if silent else None)
