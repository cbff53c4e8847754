"""What of a payable is open, and for how long. Pure.

What was paid out or taken back settles what was owed first (first in, first out): so of a balance, as much is older
than a day as what had come by that day exceeds all that went since ever. Both are sums of an account as of a day, which
is a bounded read (`ledger_core.reading.blocks`).
Guarantees: the parts of a positive balance add up to it. Does not: assign a payment to a sale; a payee that owes us
(a negative balance) has nothing open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

AGES_DAYS: Final = (30, 60, 90)


class Open(NamedTuple):
    """A part of a balance, by the age of what it consists of."""

    days_min: int  # at least so old
    days_max: int | None  # at most so old, inclusive; None: without an end
    amount_minor: int  # minor units


def open_by_age(
    owed_by: Callable[[int], int], settled: int, as_of_day: int, ages_days: Sequence[int] = AGES_DAYS
) -> list[Open]:
    """`owed_by(day)`: all credits up to and with an effective day; `settled`: all debits up to and with `as_of_day`.
    `ages_days` ascend, and are the last days of their parts."""

    def older_than(days: int) -> int:
        """What is open of what came before the last `days` days, `as_of_day` among them."""
        return max(0, owed_by(as_of_day - days) - settled)

    edges = [0, *(age + 1 for age in ages_days)]  # each part begins here
    left = [older_than(edge) for edge in edges]
    ends: list[int | None] = [*ages_days, None]
    return [
        Open(first, last, amount - rest)
        for first, last, amount, rest in zip(edges, ends, left, [*left[1:], 0], strict=True)
    ]
