"""How far a reader has come in its partitions, and how much waits in front of a cursor.

A partition ends in offsets that hold no record for anybody: the marker of a transaction, what was aborted, what an
open transaction keeps back. Whoever takes the end offset minus the cursor for work waits for such an offset for ever.
The broker says when the reader has reached the end: then nothing waits, whatever the end offset is.

Guarantees: pure; `waiting` is 0 once everything that was returned is done and the end was reached behind it.
Does not: know what came since the last poll: the next one brings it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger_core.ports import Record


class Positions:
    """Of the partitions that were started and not forgotten."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}  # partition -> after the last record that was returned
        self._end: dict[int, int] = {}  # partition -> where the reader met the end, when it met one behind `_next`

    def start(self, partition: int, offset: int) -> None:
        """Reading goes on from `offset`: an assignment, or a seek."""
        self._next[partition] = offset
        self._end.pop(partition, None)

    def due(self, partition: int) -> int:
        """The offset after the last record that was returned, or that reading goes on from."""
        return self._next.get(partition, 0)

    def took(self, partition: int, newest_offset: int) -> None:
        """Records up to `newest_offset` were returned."""
        self.start(partition, newest_offset + 1)

    def gaps(self, partition: int, records: Sequence[Record]) -> list[tuple[int, int]]:
        """[first, end) of the offsets that these next records pass over, from where the reader stood."""
        due = self._next.get(partition, records[0].offset)
        if records[-1].offset - due + 1 == len(records):
            return []  # nearly always: nothing is asked of each record
        found = []
        for record in records:
            if record.offset > due:
                found.append((due, record.offset))
            due = record.offset + 1
        return found

    def ended(self, partition: int, end_offset: int) -> None:
        """The reader came to the end of what it may read, at `end_offset`."""
        if end_offset >= self._next.get(partition, end_offset + 1):
            self._end[partition] = end_offset

    def forget(self, partition: int) -> None:
        self._next.pop(partition, None)
        self._end.pop(partition, None)

    def passed(self, partition: int, next_offset: int) -> int:
        """`next_offset`, or the end when no record stands between the two."""
        end = self._end.get(partition)
        return end if end is not None and self._next[partition] <= next_offset < end else next_offset

    def waiting(self, partition: int, next_offset: int, high_watermark: int) -> int:
        """The offsets that may hold work for a cursor at `next_offset`."""
        end = self._end.get(partition)
        if end is not None:
            return 0 if self._next[partition] <= next_offset else end - next_offset
        return max(0, high_watermark - next_offset)
