"""Filling a projection from its topics, beside the one that is asked: the way back of the read side.

The order of side effects; each step stands as a comment where it happens:
  1. READ a partition from the new projection's cursor to its present end    nothing changes
  2. COMMIT each batch, by the projector's own steps                         its commit point
Guarantees: run again after a crash it goes on; two at once do the same work. Recovery has no rules of its own: rows,
verdicts and links come from the functions that the projector calls. What a topic no longer holds is left out.
Does not: switch (its caller does), or stop for what is posted meanwhile: each pass leaves less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from ledger_core.ports import Record
from ledger_core.posting.store_port import Fenced

PASSES_MAX: Final = 50
LEFT_RECORDS_MAX: Final = 2_000  # of a pass: the running projector has read as many within a second

Place = TypeVar("Place")


class Partitions(Protocol):
    """Reads topics without a group. Every method may raise Unavailable, Refused."""

    def bounds(self, topic: str, partition: int) -> tuple[int, int]: ...

    def batches(self, topic: str, partition: int, offset: int, end: int) -> Iterator[list[Record]]: ...


@dataclass(frozen=True, slots=True)
class Feed(Generic[Place]):
    """A topic of a projection. As the arguments of `consumers.reading.follower.Follower`."""

    topic: str  # its name, prefix included
    partitions: int  # number of them
    start: Callable[[int], Place]  # the place that Postgres knows
    offset: Callable[[Place], int]  # what to read first there
    take: Callable[[Place, Sequence[Record]], Place]  # commits what records say; the place behind them


def rebuild(feeds: Sequence[Feed[object]], partitions: Partitions, told: Callable[[int], None]) -> int:
    """Fill a projection until little is left to read; how many records were taken. `told` is called with each batch's
    number. Raises Unavailable, Refused, Corrupt."""
    total = 0
    for _ in range(PASSES_MAX):
        taken = sum(
            catch_up(feed, partition, partitions, told) for feed in feeds for partition in range(feed.partitions)
        )
        total += taken
        if taken <= LEFT_RECORDS_MAX:
            break
    return total


def catch_up(feed: Feed[Place], partition: int, partitions: Partitions, told: Callable[[int], None]) -> int:
    """Read one partition to its present end; how many records were taken. Raises Unavailable, Refused, Corrupt."""
    taken = 0
    low, end = partitions.bounds(feed.topic, partition)
    place = feed.start(partition)
    while True:
        try:
            # 1. READ. Nothing changes: a crash reads again from the cursor.
            for records in partitions.batches(feed.topic, partition, max(low, feed.offset(place)), end):
                # 2. COMMIT. A crash before: the batch is read again; after: done.
                place = feed.take(place, records)
                taken += len(records)
                told(len(records))
            return taken
        except Fenced:
            place = feed.start(partition)
