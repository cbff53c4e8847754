"""Since when the ledger knows an entry. Pure.

The broker's time of a record (recorded_at) is not an order: brokers' clocks differ and are put back, and a record can
be dated years ahead. The order is the chain. So each entry has a time since which it is *known*, and these never
decrease along a shard:

    known(n) = max(known(n - 1), recorded_at(n))       as long as that is at most AHEAD_US_MAX ahead of our clock
    known(n) = max(known(n - 1), our clock)            for a record dated further ahead: an exception, which is kept
    known(n) > c                                       once the shard was closed at c behind entry n - 1: kept as well

What is known at t is then a prefix of each shard: a position. It can be answered while t is before `known_us` of the
shard's place: every entry to come is known at that time or later. So no later event changes the answer.
Guarantees: with the exceptions kept, another projection of the same chain gives each entry the same time; one that
changes no time is not kept (`needless`), so that they do not grow with every silence. Does not: ask
a clock; without the exceptions (their database was lost) those entries, and those behind them, may get other times; a
position names the same entries for ever.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

AHEAD_US_MAX: Final = 5 * 60 * 1_000_000  # as far as clocks may differ (ledger_core.proving.statement_time)


class Why(enum.StrEnum):
    """Why an entry is not known since its recorded_at."""

    AHEAD = "ahead"  # dated ahead of the clock: known since it was read
    CLOSED = "closed"  # nothing had come for a while, and answers were given up to a time: known behind it


class KeptTime(NamedTuple):
    """An exception from the rule, kept beside all projections."""

    seq: int  # of the entry that it speaks of; of the next one to come when the shard was closed
    why: Why
    known_us: int  # AHEAD: known since then, unless the entry before it is later; CLOSED: known at this time or later


def known_times(
    first_seq: int, recorded: Sequence[int], known_us: int, now_us: int, kept: Mapping[int, Sequence[KeptTime]]
) -> tuple[list[int], list[KeptTime]]:
    """The times of the entries first_seq, first_seq + 1, ... of one shard, and the exceptions that are new.

    `recorded` are their recorded_at; `known_us`: no entry from here on is known before; all in microseconds since 1970.
    `kept` has the exceptions of these entries, by sequence.
    """
    limit = now_us + AHEAD_US_MAX
    if not kept and (not recorded or max(recorded) <= limit):
        return [known_us := max(known_us, moment) for moment in recorded], []
    times, found = [], []
    for seq, moment in enumerate(recorded, first_seq):
        exceptions = {it.why: it.known_us for it in kept.get(seq, ())}
        if Why.CLOSED in exceptions:
            known_us = max(known_us, exceptions[Why.CLOSED])
        if Why.AHEAD in exceptions:
            moment = exceptions[Why.AHEAD]
        elif moment > limit:
            moment = max(known_us, now_us)
            found.append(KeptTime(seq, Why.AHEAD, moment))
        known_us = max(known_us, moment)
        times.append(known_us)
    return times, found


def needless(
    first_seq: int, recorded: Sequence[int], now_us: int, kept: Mapping[int, Sequence[KeptTime]]
) -> list[KeptTime]:
    """Of the exceptions of these entries, the closings that change nothing: the record is dated behind them, so that
    every projection knows it as late without them. The arguments are those of `known_times`."""
    found = []
    for seq, moment in enumerate(recorded, first_seq) if kept else ():
        exceptions = {it.why: it for it in kept.get(seq, ())}
        closed = exceptions.get(Why.CLOSED)
        if closed is not None and Why.AHEAD not in exceptions and closed.known_us <= moment <= now_us + AHEAD_US_MAX:
            found.append(closed)
    return found


def close_at(seq: int, known_us: int, closed_us: int) -> KeptTime | None:
    """The exception that lets a shard answer up to and with `closed_us`, though nothing came behind entry `seq`; None
    when it can already."""
    return KeptTime(seq + 1, Why.CLOSED, closed_us + 1) if closed_us >= known_us else None
