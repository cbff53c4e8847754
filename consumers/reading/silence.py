"""Up to when nothing more can come of a shard: so that a shard without events keeps no answer waiting.

A shard is silent at a time when everything that the settlements topic had by then is decided, and every entry of it is
in front of the projection's place: behind the newest entry each offset has a verdict that posted nothing, or no record.
Guarantees: what is not known counts as not silent. Should a record come all the same that a broker dated before, it is
known behind the time that was answered (`ledger_core.reading.known`). Does not: write anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from ledger_core.reading.fold import ShardReach
from ledger_core.reading.verdicts import OutcomeReach

SLACK_US: Final = 2_000_000  # a broker's clock may be behind ours: fewer exceptions that way


class DecidedPort(Protocol):
    """See `ledger_core.postgres.reading.projection_verdicts`. Every method may raise Unavailable("postgres")."""

    def reach(self, shard: int) -> OutcomeReach: ...

    def newest_offset(self, shard: int, seq: int) -> int | None: ...

    def count_between(self, shard: int, first: int, end: int) -> int: ...


class SettlementsPort(Protocol):
    """Questions about the settlements topic. Every method may raise Unavailable("kafka")."""

    def bounds(self, shard: int) -> tuple[int, int]: ...

    def holds_record(self, shard: int, first: int, end: int) -> bool: ...


class Silence:
    """`now_us` is our clock, microseconds since 1970."""

    def __init__(self, decided: DecidedPort, settlements: SettlementsPort, now_us: Callable[[], int]) -> None:
        self._decided = decided
        self._settlements = settlements
        self._now_us = now_us
        self._counted: dict[int, tuple[int, int]] = {}  # of each shard: offsets [first, end) found to be decided

    def __call__(self, reach: ShardReach) -> int | None:
        """Up to when this shard is silent, in microseconds since 1970; None while it is not. Raises Unavailable,
        Refused."""
        until = self._now_us() - SLACK_US  # before the topic is asked
        low, end = self._settlements.bounds(reach.shard)
        newest = self._decided.newest_offset(reach.shard, reach.seq)
        first = self._undecided(reach.shard, low if newest is None else newest + 1)
        if first is None or first > end or first < low:
            return None
        return None if self._settlements.holds_record(reach.shard, first, end) else until

    def _undecided(self, shard: int, first: int) -> int | None:
        """The first offset from `first` on that has no verdict yet; None where an entry is missing before it, or it is
        not known."""
        _, decided, complete_from, _ = self._decided.reach(shard)
        if decided is None or decided <= first:
            return first
        if complete_from is None or complete_from > first:
            return None
        if self._counted.get(shard) != (first, decided):
            if self._decided.count_between(shard, first, decided) != decided - first:
                return None
            self._counted[shard] = (first, decided)
        return decided
