"""What is read beside the journal: whatever fails, each record is taken once, and one partition stops no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from consumers.reading.follower import RETRY_SECONDS, Follower
from ledger_core.errors import Corrupt, Refused, Unavailable
from ledger_core.ports import Record
from ledger_core.posting.store_port import Fenced
from tests.simulator.faults import Faults, Mode
from tests.simulator.kafka import MemorySource

Place = tuple[int, int]  # partition, next offset


@dataclass
class Kept:
    """What stands: of each partition the records that were taken, and the cursor behind them."""

    faults: Faults
    records: dict[int, list[int]] = field(default_factory=dict)
    cursors: dict[int, int] = field(default_factory=dict)
    bad: dict[int, Exception] = field(default_factory=dict)  # of these offsets

    def start(self, partition: int) -> Place:
        return self.faults.call("postgres", self._start, partition)

    def take(self, place: Place, records: Sequence[Record]) -> Place:
        return self.faults.call("postgres", self._take, place, records)

    def _start(self, partition: int) -> Place:
        return partition, self.cursors.get(partition, 0)

    def _take(self, place: Place, records: Sequence[Record]) -> Place:
        partition, before = place
        if self.cursors.get(partition, 0) != before:
            raise Fenced("moved")
        for record in records:
            if partition == 0 and record.offset in self.bad:
                raise self.bad[record.offset]
        self.records.setdefault(partition, []).extend(record.offset for record in records)
        self.cursors[partition] = records[-1].offset + 1
        return partition, self.cursors[partition]


@dataclass
class World:
    """A topic of two partitions, and followers of it that come and go."""

    faults: Faults = field(default_factory=Faults)
    now: float = 0.0
    records_max: int = 7
    topic: dict[int, list[Record]] = field(
        default_factory=lambda: {
            partition: [Record("t", partition, offset, 0, None, b"") for offset in range(20)] for partition in (0, 1)
        }
    )

    def __post_init__(self) -> None:
        self.kept = Kept(self.faults)

    def follower(self) -> Follower[Place]:
        return Follower(
            "t",
            lambda start, gone: MemorySource(self.topic, start, gone, self.faults, records_max=self.records_max),
            start=self.kept.start,
            offset=lambda place: place[1],
            take=self.kept.take,
            batch_records_max=100,
            monotonic=lambda: self.now,
        )

    def run(self) -> None:
        """Until there is nothing left, built anew whenever something was away."""
        follower = self.follower()
        for _ in range(100):
            try:
                if not follower.step():
                    return
            except Unavailable:
                follower = self.follower()
        raise AssertionError("it gets nowhere")


@pytest.mark.parametrize("step", ["poll", "start", "take"])
@pytest.mark.parametrize("mode", ["not applied", "applied"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_killed_at_any_step_it_takes_each_record_once(step: str, mode: Mode, nth: int) -> None:
    it = World()
    it.faults.arm(step, mode, nth)
    it.run()
    assert it.kept.records == {0: list(range(20)), 1: list(range(20))}
    if (step, nth) != ("start", 3):  # it starts once in each partition
        assert it.faults.fired == [f"{step}: {mode}"]


def test_two_followers_take_each_record_once() -> None:
    it = World()
    one, two = it.follower(), it.follower()
    for _ in range(20):
        one.step()
        two.step()
    assert it.kept.records == {0: list(range(20)), 1: list(range(20))}


@pytest.mark.parametrize("error", [Corrupt("not a record"), Refused("of another ledger", remedy="see to it")])
@pytest.mark.parametrize("records_max", [1, 7, 20])
def test_a_partition_stands_before_the_record_that_is_refused_until_it_is_right(
    error: Exception, records_max: int
) -> None:
    it = World(records_max=records_max)
    it.kept.bad[10] = error
    follower = it.follower()
    for _ in range(40):
        follower.step()
    assert it.kept.records == {0: list(range(10)), 1: list(range(20))}
    it.kept.bad.clear()
    follower.step()
    assert it.kept.records[0] == list(range(10))
    it.now += RETRY_SECONDS
    for _ in range(20):
        follower.step()
    assert it.kept.records[0] == list(range(20))
