"""Ledgers in plain text, as an accountant writes and reads them: one posting a line.

    dr asset:psp:stripe            114.00 USD
    cr liability:payable:seller-42 114.00 USD

Amounts are in major units with the decimals of their currency. Blanks are free: `plain` is the text without them, and
what `written` makes of lines is compared with that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ledger_core.books.lines import Side
from ledger_core.books.money import Money, format_major, parse_major
from ledger_core.books.settlements import LineFields

SIDES: dict[str, Side] = {"dr": "debit", "cr": "credit"}
WORDS = {side: word for word, side in SIDES.items()}


class Leg(Protocol):
    """A line of an event or of an entry; the entry's amount is a text."""

    @property
    def account(self) -> str: ...
    @property
    def side(self) -> Side: ...
    @property
    def amount_minor(self) -> int | str: ...
    @property
    def currency(self) -> str: ...


def plain(text: str) -> str:
    """The postings of a text, each on its line, with single blanks."""
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


def written(legs: Iterable[Leg | LineFields]) -> str:
    """The postings in their order. A memo is not part of a posting."""
    rows = []
    for leg in legs:
        values = leg[:4] if isinstance(leg, tuple) else (leg.account, leg.side, int(leg.amount_minor), leg.currency)
        account, side, amount, currency = values
        rows.append(f"{WORDS[side]} {account} {format_major(Money(amount, currency))} {currency}")
    return "\n".join(rows)


def lines_of(text: str) -> list[LineFields]:
    """The lines of a settlement, from its postings in plain text."""
    lines: list[LineFields] = []
    for posting in plain(text).splitlines():
        word, account, amount, currency = posting.split()
        lines.append((account, SIDES[word], parse_major(amount, currency).amount_minor, currency, None))
    return lines
