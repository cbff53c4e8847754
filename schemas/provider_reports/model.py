"""A row of a provider's or bank's report, the same for every format.

Guarantees: amounts are exact minor units; `key` is what the provider itself calls the row by, so two rows of one key
are one twice. Does not: say what the ledger has.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

RowKind = Literal[
    "payment",  # a buyer paid
    "refund",  # money went back to a buyer
    "dispute",  # taken back by the provider
    "dispute_won",  # and given back
    "fee",  # what the provider took for itself
    "payout",  # sent to our bank, or arrived there
    "hold",  # kept back for later
    "release",  # of what was kept back
    "conversion",  # one currency into another
    "other",  # money that moved for another reason, or for one that the reader does not know
    "pending",  # no money moved yet
]


class ReportRow(NamedTuple):
    """Money that moved, as the provider says."""

    line: int  # of the file, from 1
    key: str  # the provider's own name of the row
    kind: RowKind  # what happened
    said: str  # the provider's own word for the kind
    references: tuple[str, ...]  # by which the ledger may know it, the best first
    amount_minor: int  # minor units: what the balance gained, negative where it lost; before fees
    fee_minor: int  # minor units: what the provider took of it, negative where it gave back; in the same currency
    currency: str  # three capital letters, ISO 4217
    at_us: int  # when, microseconds since 1970 UTC
    is_day: bool  # whether only the day is known
    batch: str  # the payout, batch or statement that the row belongs to; "" where it says none


class RowFault(NamedTuple):
    """A row that cannot be read; the others can."""

    line: int  # of the file, from 1
    column: str  # its name, or "" for the row as a whole
    message: str  # what is wrong


class BadReport(ValueError):
    """A file that cannot be read on from here: nothing behind this line counts."""

    def __init__(self, place: str, line: int, column: str, message: str) -> None:
        where = f"{place}, line {line}" + (f", column {column}" if column else "")
        super().__init__(f"{where}: {message}")
        self.line, self.column, self.message = line, column, message


class BadCell(ValueError):
    """A cell that cannot be read: `column` names it. The reader of rows makes a RowFault of it."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(f"{column}: {message}")
        self.column, self.message = column, message
