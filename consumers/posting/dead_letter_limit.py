"""The dead-letter limit of one shard: a bad deploy upstream must stop it, not drain it into the dead letters.

It counts rejections among the newest records that this process handled of the shard. From half of the limit on the
shard posts in small parts, with a pause after each that rejects something; beyond the limit it is halted, and no other
shard with it. None of this changes a verdict, so it may be configured (ARCHITECTURE, rule 5).

Guarantees: pure. Does not: pause or halt: `consumers.posting.stops` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ledger_core.errors import RejectReason
from ledger_core.ports import Record
from ledger_core.posting.plans import Decided, Rejection

SLOW_PARTS: Final = 10  # between half of the limit and the limit, where everything is rejected


class DeadLetterLimitReached(Exception):
    """Raised before anything of the batch is written. `records`: what it held."""

    def __init__(self, message: str, records: int) -> None:
        super().__init__(message)
        self.records = records


class DeadLetterLimit:
    """At most `dead_letters_max` rejections among the last `window_records` records, counted in whole batches."""

    def __init__(self, dead_letters_max: int, window_records: int) -> None:
        self._dead_letters_max = dead_letters_max
        self._window_records = window_records
        self._allowed_offset = 0
        self._batches: deque[tuple[int, int]] = deque()
        self._records = 0
        self._rejected = 0
        self._careful = False
        self.part_records: Final = max(1, dead_letters_max // (2 * SLOW_PARTS))  # of a part while the limit is near

    @property
    def near(self) -> bool:
        """Whether half of the limit is used up."""
        return self._rejected > self._dead_letters_max // 2

    def check(self, records: int, rejected: int) -> None:
        """Raise DeadLetterLimitReached if one more batch with these counts would reach the limit."""
        total = self._rejected + rejected
        if rejected and total > self._dead_letters_max:
            raise DeadLetterLimitReached(
                f"{total} of the last {self._records + records} records were rejected, "
                f"more than {self._dead_letters_max}",
                records,
            )

    def add(self, records: int, rejected: int) -> None:
        """Count a batch that was written."""
        self._batches.append((records, rejected))
        self._records += records
        self._rejected += rejected
        while self._records > self._window_records and len(self._batches) > 1:
            old_records, old_rejected = self._batches.popleft()
            self._records -= old_records
            self._rejected -= old_rejected
        self._careful = self._careful and self.near

    def counted(self, rejected: Iterable[Record]) -> int:
        """How many of these rejected records count: those that no operator allowed."""
        return sum(record.offset >= self._allowed_offset for record in rejected)

    def allow(self, offset: int) -> None:
        """An operator saw what is rejected below this offset, and lets it pass: it begins anew behind it."""
        if offset > self._allowed_offset:
            self._allowed_offset = offset
            self._batches.clear()
            self._records = self._rejected = 0
            self._careful = False

    def careful(self) -> None:
        """Take small parts from here on: a batch reached the limit whose rejections are seen in its plan only."""
        self._careful = True

    def parts(self, batch: Sequence[Decided]) -> Iterator[Sequence[Decided]]:
        """The batch, whole unless the limit is near, or would be behind it."""
        bad = self.counted(item.record for item in batch if _is_bad(item))
        near = self._careful or self._rejected + bad > self._dead_letters_max // 2
        size = self.part_records if near else len(batch)
        for start in range(0, len(batch), size):
            yield batch[start : start + size]


def _is_bad(item: Decided) -> bool:
    """Whether it is rejected for what stands in it: what nothing can read was an operator's decision."""
    return isinstance(item.outcome, Rejection) and item.outcome.reason is not RejectReason.UNREADABLE
