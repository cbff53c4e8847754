"""Filling a projection beside the one that is asked: ended at any step it goes on; it ends while posting goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from consumers.reading.rebuild import LEFT_RECORDS_MAX, PASSES_MAX, Feed, rebuild
from ledger_core.errors import Unavailable
from ledger_core.ports import Record
from ledger_core.posting.store_port import Fenced
from tests.simulator.faults import Faults, Mode

Place = tuple[int, int]  # partition, next offset


@dataclass
class World:
    """Topics, and what a new projection has of them."""

    faults: Faults = field(default_factory=Faults)
    lows: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 5})
    ends: dict[int, int] = field(default_factory=lambda: {0: 30, 1: 40})
    growth: int = 0  # records that come while a partition is read
    cursors: dict[int, int] = field(default_factory=dict)
    taken: dict[int, list[int]] = field(default_factory=dict)

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        low, end = self.lows[partition], self.ends[partition]
        self.ends[partition] += self.growth
        return low, end

    def batches(self, topic: str, partition: int, offset: int, end: int) -> Iterator[list[Record]]:
        for at in range(offset, end, 1000 if self.growth else 8):
            with self.faults.step("kafka", "read"):
                size = 1000 if self.growth else 8
                yield [Record(topic, partition, it, 0, None, b"") for it in range(at, min(end, at + size))]

    def feed(self) -> Feed[Any]:
        return Feed("t", 2, self.start, lambda place: place[1], self.take)

    def start(self, partition: int) -> Place:
        return partition, self.cursors.get(partition, 0)

    def take(self, place: Place, records: Sequence[Record]) -> Place:
        with self.faults.step("postgres", "take"):
            partition, before = place
            if self.cursors.get(partition, 0) != before:
                raise Fenced("moved")
            self.taken.setdefault(partition, []).extend(it.offset for it in records)
            self.cursors[partition] = records[-1].offset + 1
        return partition, self.cursors[partition]


EVERYTHING = {0: list(range(30)), 1: list(range(5, 40))}


@pytest.mark.parametrize("step", ["read", "take"])
@pytest.mark.parametrize("mode", ["not applied", "applied"])
@pytest.mark.parametrize("nth", [1, 2, 5])
def test_ended_at_any_step_and_run_again_it_takes_each_record_once(step: str, mode: Mode, nth: int) -> None:
    it = World()
    it.faults.arm(step, mode, nth)
    with pytest.raises(Unavailable):
        rebuild([it.feed()], it, lambda _count: None)
    assert it.taken != EVERYTHING
    rebuild([it.feed()], it, lambda _count: None)
    assert it.taken == EVERYTHING


def test_another_one_that_fills_it_too_is_met_and_followed() -> None:
    it = World()
    told: list[int] = []

    def beside(count: int) -> None:
        told.append(count)
        if len(told) == 2:  # the other one takes the next eight
            it.take((0, 16), [Record("t", 0, offset, 0, None, b"") for offset in range(16, 24)])

    assert rebuild([it.feed()], it, beside) == sum(told) == 65 - 8
    assert it.taken == EVERYTHING


@pytest.mark.parametrize(("growth", "passes"), [(LEFT_RECORDS_MAX // 2, 2), (LEFT_RECORDS_MAX, PASSES_MAX)])
def test_it_ends_though_posting_goes_on(growth: int, passes: int) -> None:
    it = World(lows={0: 0, 1: 0}, ends={0: 10_000, 1: 10_000}, growth=growth)
    assert rebuild([it.feed()], it, lambda _count: None) == 20_000 + 2 * (passes - 1) * growth
