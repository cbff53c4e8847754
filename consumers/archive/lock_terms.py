"""Until when an object is locked, where nobody can shorten a lock: what a wrong clock would make of it is refused.

Guarantees: a lock is counted from a time that this clock has reached, and ends after now. A time that no lock can be
counted from (the clock of the prover, or of the database, was wrong when it was written) waits for the decision of an
operator (`finance archive lock`); the lock is then counted from when the decision was written down, by the database's
clock: nobody chooses an end. What waits stops nothing else, and is asked again every RETRY_SECONDS.
Does not: store anything, or judge the lock of an object that stands there already.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from ledger_core.archive.pinned_object import lock_end
from ledger_core.errors import Refused
from ledger_core.proving.statement_time import CLOCK_SKEW_SECONDS_MAX
from ledger_core.times import format_time

RETRY_SECONDS: Final = 60.0

log = structlog.get_logger("archiver")


class LockDecisions(Protocol):
    """See `ledger_core.postgres.archive.archiver_store`. May raise Unavailable("postgres")."""

    def decided_at(self, object_key: str) -> dt.datetime | None: ...


class LockTerms:
    """Of the objects of one archive. The clock gives UTC times, `retention_days` is how long a lock lasts."""

    def __init__(self, decisions: LockDecisions, retention_days: int, *, clock: Callable[[], dt.datetime]) -> None:
        self._decisions = decisions
        self._retention_days = retention_days
        self._clock = clock

    def end(self, object_key: str, said: dt.datetime) -> dt.datetime:
        """The end of the lock of an object whose own time is `said`. Raises Refused when no lock can be counted from
        it, nor from a decision of an operator."""
        fault = self._fault(said)
        if fault is None:
            return lock_end(said, self._retention_days)
        decided = self._decisions.decided_at(object_key)
        if decided is None:
            raise Refused(
                f"{object_key}: {fault}",
                remedy="set this clock if it is wrong; if another one was, when that time was written: "
                f"finance archive lock {object_key} --reason '...'",
            )
        fault = self._fault(decided)
        if fault is not None:
            raise Refused(f"{object_key}, by decision: {fault}", remedy="set this clock, or the database's")
        return lock_end(decided, self._retention_days)

    def _fault(self, said: dt.datetime) -> str | None:
        now = self._clock()
        clocks = f"its time is {format_time(said)}, and this clock says {format_time(now)}"
        if (said - now).total_seconds() > CLOCK_SKEW_SECONDS_MAX:
            return f"{clocks}: nothing is locked by a time to come"
        until = lock_end(said, self._retention_days)
        return f"{clocks}: a lock until {until.date()} is over already" if until <= now else None


class Waiting:
    """What waits for an operator, by name, while everything else goes on. `monotonic` gives seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._until: dict[str, float] = {}

    def waits(self, name: str) -> bool:
        """Whether it is not yet time to try again."""
        return self._monotonic() < self._until.get(name, float("-inf"))

    def attempt(self, name: str, work: Callable[[], bool]) -> bool:
        """Whether `work` did something. What it refuses is said, waits by that name, and may be tried again after
        RETRY_SECONDS."""
        if self.waits(name):
            return False
        try:
            return work()
        except Refused as error:
            self._until[name] = self._monotonic() + RETRY_SECONDS
            log.error("archive.waits", what=name, message=error.message, remedy=error.remedy)
            return False
