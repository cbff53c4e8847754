"""What a settlement or an order came to: the sum of its entries, and which of them took back another. Pure.

Guarantees: the sums of a sound ledger add up to nothing in each currency. Does not: interpret types of events: an entry
says itself which one it takes back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol


class Amount(Protocol):
    """A line, as far as it is summed."""

    @property
    def account(self) -> str: ...

    @property
    def currency(self) -> str: ...

    @property
    def amount_minor(self) -> int: ...


class Net(NamedTuple):
    """What the lines of an account come to."""

    account: str  # path
    currency: str  # three capital letters, ISO 4217
    amount_minor: int  # minor units; a debit positive, a credit negative; never 0


def net_of(lines: Iterable[Amount]) -> list[Net]:
    """What these lines come to, account by account; what came and went is left out."""
    sums: dict[tuple[str, str], int] = {}
    for line in lines:
        key = (line.account, line.currency)
        sums[key] = sums.get(key, 0) + line.amount_minor
    return [Net(*key, amount) for key, amount in sorted(sums.items()) if amount]


def taken_back(entries: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Of the entries that another one took back: event id -> event id of that one. `entries`: (event id, reverses)."""
    return {reverses: event_id for event_id, reverses in entries if reverses is not None}
