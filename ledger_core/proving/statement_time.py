"""The time that a proof states: fixed for ever, and what the lock of its range is counted from. Pure.

Guarantees: it is the time of two clocks that agree, and not before the records that the proof speaks of, which have the
broker's clock, unless an operator accepted that theirs is wrong. Does not: read a clock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final

from ledger_core.errors import AheadOfClocks, Unavailable
from ledger_core.times import format_time, parse_time

CLOCK_SKEW_SECONDS_MAX: Final = 300.0  # between any two of this process, the database and the broker


def statement_time(
    ours: dt.datetime,
    databases: dt.datetime,
    newest_record: str | None,
    accepted_until: Callable[[], dt.datetime | None],
) -> dt.datetime:
    """Our time, UTC, when nothing speaks against it. `newest_record` is the greatest recorded_at of the statement;
    `accepted_until` is asked only where it is ahead: up to which time an operator accepted that (None: nobody did).

    Raises Unavailable("clock") naming both times, where they are ours and the database's: nothing is proved then;
    AheadOfClocks where it is the broker's, which concerns this statement alone.
    """
    if abs((ours - databases).total_seconds()) > CLOCK_SKEW_SECONDS_MAX:
        raise Unavailable(
            "clock",
            f"this clock says {format_time(ours)}, the database's {format_time(databases)}: nothing is proved until "
            "the wrong one is set (NTP)",
        )
    newest = ours if newest_record is None else parse_time(newest_record)
    if (newest - ours).total_seconds() > CLOCK_SKEW_SECONDS_MAX and newest > (accepted_until() or ours):
        raise AheadOfClocks(
            "clock",
            f"this clock and the database's say {format_time(ours)}, and the broker gave a record the time "
            f"{newest_record}: nothing is proved until the wrong one is set (NTP); was it the broker's? See `finance "
            "shards accept-times`",
        )
    return ours
