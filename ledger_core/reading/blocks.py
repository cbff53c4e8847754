"""Sums of full blocks of lines, which never change. Pure.

The lines of one account, currency and shard are a *series*, numbered 1, 2, ... in the order of the chain. Each 256 of
them are a block of level 0, and each 32 blocks one of the next level. Once its last line has come, a block is summed
up, once: for each effective day that it contains, the debits and credits of its lines up to and with that day. The
lines known at a position are a prefix of the series: their sum up to an effective day is read from at most 31 blocks of
each level (one row each) and 255 lines, whatever the account.
Guarantees: which blocks exist depends on the number of lines alone, not on batches or clocks; no row is ever written
again. Does not: sum anything up itself but in `day_sums`, which says what the database's statement must give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

BLOCK_LINES: Final = 256  # of level 0
FAN_OUT: Final = 32  # blocks of a level in one of the next
LEVELS: Final = 6  # the highest has 8.6 billion lines a block
SIZES: Final = tuple(BLOCK_LINES * FAN_OUT**level for level in range(LEVELS))


class Blocks(NamedTuple):
    """Consecutive blocks of one level of a series."""

    level: int  # 0: of 256 lines
    first: int  # number of the first one, from 0
    end: int  # behind the last one


class DaySum(NamedTuple):
    """What the lines of a block come to, up to and with an effective day."""

    day: int  # UTC day of occurred_at, in days since 1970
    debits: int  # minor units
    credits: int  # minor units, not negative


def completed(before: int, after: int) -> Iterator[Blocks]:
    """The blocks that are full at `after` lines of a series and were not at `before`; level by level, lowest first."""
    for level, size in enumerate(SIZES):
        first, end = before // size, after // size
        if first == end:
            return  # nothing of a higher level either
        yield Blocks(level, first, end)


def covering(lines: int) -> tuple[list[Blocks], int]:
    """The fewest blocks that are the first lines of a series, highest level first, and behind which line the rest is
    read one by one."""
    found: list[Blocks] = []
    done = 0
    for level in reversed(range(LEVELS)):
        size = SIZES[level]
        first, end = done // size, lines // size
        if first < end:
            found.append(Blocks(level, first, end))
            done = end * size
    return found, done


def day_sums(lines: Iterable[tuple[int, int]]) -> list[DaySum]:
    """The rows of a block, from its lines as (effective day, amount: a debit positive)."""
    days: dict[int, list[int]] = {}
    for day, amount in lines:
        sums = days.setdefault(day, [0, 0])
        sums[amount < 0] += abs(amount)
    rows: list[DaySum] = []
    for day in sorted(days):
        before = rows[-1] if rows else DaySum(day, 0, 0)
        rows.append(DaySum(day, before.debits + days[day][0], before.credits + days[day][1]))
    return rows
