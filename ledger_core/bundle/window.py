"""Which ranges and entries a stretch of time takes: [from_ts, to_ts) by recorded_at. Pure.

Guarantees: the ranges taken are a run without a gap that holds every entry of the window that any given range has,
and, where there is one, an entry on either side of them: so that whoever reads the batches sees where the window
begins and ends. `recorded_at` may go back along a shard (brokers' clocks do), so all ranges are asked, not two.
Does not: read an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class WindowCount:
    """Feed it every entry of the batches in order of sequence; it says which of them the window holds, and what stands
    right outside. Times are as in entries, whose texts compare as times."""

    from_ts: str  # first moment of the window, inclusive
    to_ts: str  # end of the window, exclusive
    inside: int = 0  # entries in the window
    first: int | None = None  # sequence of the first of them
    last: int | None = None  # sequence of the last of them
    _early: int | None = None  # the last one before the window, while none was in it
    _late: int | None = None  # the first one behind the window, since the last in it
    _first_seq: int | None = None

    def take(self, seq: int, recorded_at: str) -> bool:
        """Take the next entry; whether the window holds it."""
        self._first_seq = seq if self._first_seq is None else self._first_seq
        if self.from_ts <= recorded_at < self.to_ts:
            self.inside += 1
            self.first = seq if self.first is None else self.first
            self.last, self._late = seq, None
            return True
        if self.first is not None:
            self._late = seq if self._late is None else self._late
        elif recorded_at < self.from_ts:
            self._early, self._late = seq, None
        elif self._late is None:
            self._late = seq
        return False

    @property
    def before(self) -> int | None:
        """Sequence of the entry right before those of the window; None when the batches hold none."""
        if self.first is None:
            return self._early
        return self.first - 1 if self._first_seq is not None and self.first > self._first_seq else None

    @property
    def after(self) -> int | None:
        """Sequence of the entry right behind those of the window; None when the batches hold none."""
        return self._late


def ranges_in(times: Sequence[tuple[str, str] | None], from_ts: str, to_ts: str) -> tuple[int, int]:
    """Places (first, last, inclusive) of the ranges to take, of all those of a shard in order: `times` are least and
    greatest recorded_at of each, None of one without entries. Raises ValueError when there is no range."""
    if not times:
        raise ValueError("a shard without a range has nothing to take")
    filled = [(place, span) for place, span in enumerate(times) if span is not None]
    meeting = [at for at, (_, span) in enumerate(filled) if span[0] < to_ts and span[1] >= from_ts]
    if not filled:
        return len(times) - 1, len(times) - 1
    if meeting:
        first, last = max(0, meeting[0] - 1), min(len(filled) - 1, meeting[-1] + 1)
    else:
        behind = next((at for at, (_, span) in enumerate(filled) if span[0] >= to_ts), len(filled))
        first, last = max(0, behind - 1), min(len(filled) - 1, behind)
    return filled[first][0], filled[last][0]
