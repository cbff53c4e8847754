"""Records of one partition at offsets that are asked for.

Guarantees: what comes was asked for, in order of offset; an offset that the topic no longer holds (or that never held a
record, or one that no reader can read) is passed over, and the caller sees that it did not come. Offsets near each
other are read in one run.
Does not: read by itself: `consumers.kafka.partition_reader` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from consumers.kafka.partition_reader import PartitionReader
from ledger_core.errors import Unreadable
from ledger_core.ports import Record

GAP_OFFSETS_MAX: Final = 5_000  # nearer offsets are read over: another run throws away what was fetched ahead
RECORDS_MAX: Final = 1_000


class TopicReader:
    """`bounds(topic, partition)` gives the oldest offset and the end offset, `open_reader(topic, partition,
    offset, end_offset)` reads between two."""

    def __init__(
        self,
        bounds: Callable[[str, int], tuple[int, int]],
        open_reader: Callable[[str, int, int, int], PartitionReader],
    ) -> None:
        self._bounds = bounds
        self._open = open_reader

    def records(self, topic: str, partition: int, offsets: Sequence[int]) -> Iterator[Record]:
        """The records at ascending `offsets`, as far as the topic holds them. Raises Unavailable, Refused."""
        low, high = self._bounds(topic, partition)
        wanted = [offset for offset in offsets if low <= offset < high]
        at = 0
        while at < len(wanted):
            end = at + 1
            while end < len(wanted) and wanted[end] - wanted[end - 1] < GAP_OFFSETS_MAX:
                end += 1
            yield from self._run(topic, partition, wanted[at:end])
            at = end

    def _run(self, topic: str, partition: int, wanted: Sequence[int]) -> Iterator[Record]:
        """Read on from the first to the last offset of a run."""
        asked = set(wanted)
        reader = self._open(topic, partition, wanted[0], wanted[-1] + 1)
        reached = -1  # the last offset from which reading began anew
        try:
            while not reader.done:
                try:
                    yield from (record for record in reader.read(RECORDS_MAX) if record.offset in asked)
                except Unreadable as found:
                    beyond = [offset for offset in wanted if offset > max(found.offset, reached)]
                    reached = beyond[0] if beyond else wanted[-1] + 1
                    reader.pass_over(reached)
        finally:
            reader.close()
