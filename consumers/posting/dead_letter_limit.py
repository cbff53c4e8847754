"""The dead-letter limit: a bad deploy upstream must stop posting, not drain the topic into the dead letters.

It counts rejections among the newest records this process handled. Reaching the limit halts; it changes no verdict, so
it may be configured (ARCHITECTURE, rule 5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ledger_core.ports import Record


class DeadLetterLimitReached(Exception):
    """Raised before anything of the batch is written."""


class DeadLetterLimit:
    """At most `dead_letters_max` rejections among the last `window_records` records, counted in whole batches."""

    def __init__(self, dead_letters_max: int, window_records: int) -> None:
        self._dead_letters_max = dead_letters_max
        self._window_records = window_records
        self._forgiven_before_ms = -1
        self._batches: deque[tuple[int, int]] = deque()
        self._records = 0
        self._rejected = 0

    def check(self, records: int, rejected: int) -> None:
        """Raise DeadLetterLimitReached if one more batch with these counts would reach the limit."""
        total = self._rejected + rejected
        if rejected and total > self._dead_letters_max:
            raise DeadLetterLimitReached(
                f"{total} of the last {self._records + records} records were rejected, "
                f"more than {self._dead_letters_max}"
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

    def counted(self, rejected: Iterable[Record]) -> int:
        """How many of these rejected records count: those that the topic took after the operator's last resume."""
        return sum(record.timestamp_ms >= self._forgiven_before_ms for record in rejected)

    def resume(self, now_ms: int) -> None:
        """Begin anew: an operator checked what waits in the topic up to `now_ms`, and resumed.

        Without that, a batch with more rejections than the limit would halt again at every resume.
        """
        self._batches.clear()
        self._records = self._rejected = 0
        self._forgiven_before_ms = now_ms
