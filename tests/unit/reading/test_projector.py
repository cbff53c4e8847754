"""The projector over a journal in memory: whatever fails, each entry becomes one row, and one shard stops no other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from consumers.metrics import NullMetrics
from consumers.reading.projector import IDLE_SECONDS, RETRY_SECONDS, Projector
from ledger_core.errors import Unavailable
from ledger_core.ports import Record
from ledger_core.reading.fold import ShardReach
from tests.simulator.faults import Faults, Mode
from tests.simulator.kafka import MemorySource
from tests.simulator.reading import MemoryProjection, MemoryProjectionStore
from tests.support.journal_factory import TinyShard

CLOCK = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@dataclass
class World:
    """A journal and a projection of it; projectors come and go."""

    journal: dict[int, list[Record]]
    projection: MemoryProjection = field(default_factory=MemoryProjection)
    now: float = 0.0
    silent_until: int | None = None

    def projector(self, faults: Faults | None = None, *, records_max: int = 7) -> Projector:
        faults = faults or Faults()
        journal: Mapping[int, Sequence[Record | None]] = self.journal
        return Projector(
            MemoryProjectionStore(self.projection, faults),
            lambda start, gone: MemorySource(journal, start, gone, faults, records_max=records_max),
            batch_records_max=100,
            clock=lambda: CLOCK,
            metrics=NullMetrics(),
            silent_until=lambda _reach: self.silent_until,
            monotonic=lambda: self.now,
        )

    def run(self, faults: Faults | None = None) -> None:
        """Until there is nothing left, built anew whenever something was away."""
        projector = self.projector(faults)
        for _ in range(200):
            try:
                if not projector.step():
                    return
            except Unavailable:
                projector = self.projector(faults)
        raise AssertionError("it gets nowhere")

    def seqs(self, shard: int = 0) -> list[int]:
        return [row.seq for row in self.projection.rows.get(shard, ())]


def world(*counts: int) -> World:
    return World({shard: TinyShard(shard=shard).post(count).journal() for shard, count in enumerate(counts)})


def test_every_entry_becomes_one_row_in_order() -> None:
    it = world(30, 20)
    it.run()
    assert it.seqs(0) == list(range(1, 31))
    assert it.seqs(1) == list(range(1, 21))


@pytest.mark.parametrize("step", ["poll", "reach", "write"])
@pytest.mark.parametrize("mode", ["not applied", "applied"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_killed_at_any_step_it_goes_on_from_what_stands(step: str, mode: Mode, nth: int) -> None:
    sound = world(40)
    sound.run()
    it, faults = world(40), Faults()
    faults.arm(step, mode, nth)
    it.run(faults)
    assert it.projection.rows == sound.projection.rows
    assert it.projection.reaches == sound.projection.reaches


def test_two_projectors_of_one_shard_write_each_entry_once() -> None:
    it = world(40)
    one, two = it.projector(), it.projector()
    for _ in range(30):
        one.step()
        two.step()
    assert it.seqs() == list(range(1, 41))


@pytest.mark.parametrize("records_max", [1, 7, 20])
def test_a_shard_stands_before_the_entry_that_is_refused_until_it_is_right(records_max: int) -> None:
    it = world(20, 20)
    right = list(it.journal[0])
    del it.journal[0][10]
    projector = it.projector(records_max=records_max)
    for _ in range(40):
        projector.step()
    assert it.seqs(0) == list(range(1, 11))
    assert it.seqs(1) == list(range(1, 21))
    it.journal[0][:] = right
    projector.step()
    assert it.seqs(0) == list(range(1, 11))
    it.now += RETRY_SECONDS
    for _ in range(40):
        projector.step()
    assert it.seqs(0) == list(range(1, 21))


@pytest.mark.parametrize("value", [b"junk", None])
def test_what_is_not_a_journal_record_halts_nobody(value: bytes | None) -> None:
    it = world(3, 3)
    it.journal[0][1] = Record("finance.journal", 0, 1, 0, None, value)
    projector = it.projector()
    for _ in range(5):
        projector.step()
    assert it.seqs(1) == [1, 2, 3]
    assert it.seqs(0) == [1]


def test_a_silent_shard_is_closed_once_nothing_more_can_come_of_it() -> None:
    it = world(3)
    projector = it.projector()
    for _ in range(3):
        projector.step()
    reach = it.projection.reach(0)
    it.now += IDLE_SECONDS
    projector.step()
    assert it.projection.reach(0) == reach  # not known whether something is under way
    it.silent_until = reach.known_us + 1_000_000
    it.now += IDLE_SECONDS
    projector.step()
    assert it.projection.reach(0) == reach._replace(known_us=it.silent_until + 1)
    it.journal[0][:] = TinyShard().post(5).journal()
    for _ in range(3):
        projector.step()
    assert [row.known_us for row in it.projection.rows[0][3:]] == [it.silent_until + 1] * 2


def test_nothing_is_closed_while_records_wait() -> None:
    it = world(30)
    it.silent_until = 10**16
    projector = it.projector(records_max=1)
    it.now += IDLE_SECONDS
    projector.step()
    assert it.projection.reach(0).known_us < it.silent_until
    assert it.projection.reach(1) == ShardReach(1)
