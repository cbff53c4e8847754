"""Decimal texts of a file to minor units, exactly.

A file has one decimal mark. It is declared, or found out from cells that leave no doubt: a mark with other than three
digits behind it, or two different marks, of which the last is the decimal one. `1,234` alone says nothing.
Guarantees: no float, no rounding: more decimals than the currency has are a fault unless they are zeros; grouping must
be whole groups of three. Does not: guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.books.money import EXPONENTS
from schemas.provider_reports.model import BadCell

Mark = Literal[".", ","]
CELL_CHARS_MAX: Final = 40

_PLAIN: Final = {
    mark: re.compile(rf"([+-]?)(\d{{1,3}}(?:{re.escape(group)}\d{{3}})+|\d+)(?:{re.escape(mark)}(\d+))?", re.ASCII)
    for mark, group in ((".", ","), (",", "."))
}
_MARKS: Final = re.compile(r"[.,]")


def minor_of(text: str, currency: str, mark: Mark, column: str, exponent: int | None = None) -> int:
    """A cell in major units -> minor units. `exponent`: decimals of the currency where the provider has its own.
    Raises BadCell."""
    decimals = EXPONENTS.get(currency) if exponent is None else exponent
    if decimals is None:
        raise BadCell(column, f"{currency!r:.40} is not an ISO 4217 code in use with minor units")
    match = _PLAIN[mark].fullmatch(text) if len(text) <= CELL_CHARS_MAX else None
    if match is None:
        raise BadCell(column, f"{text!r:.60} is not a decimal number with {mark!r} as its decimal mark")
    sign, whole, fraction = match[1], re.sub("[.,]", "", match[2]), match[3] or ""
    if fraction[decimals:].strip("0"):
        raise BadCell(column, f"{text!r} has more decimals than {currency}, which has {decimals}")
    value = int(whole + fraction[:decimals].ljust(decimals, "0"))
    if value > AMOUNT_MINOR_MAX:
        raise BadCell(column, f"{text!r} is beyond what a ledger's line can have")
    return -value if sign == "-" else value


def integer_of(text: str, column: str) -> int:
    """A cell in minor units. Raises BadCell."""
    if len(text) > CELL_CHARS_MAX or re.fullmatch(r"[+-]?\d+", text, re.ASCII) is None:
        raise BadCell(column, f"{text!r:.60} is not a whole number of minor units")
    value = int(text)
    if abs(value) > AMOUNT_MINOR_MAX:
        raise BadCell(column, f"{text!r} is beyond what a ledger's line can have")
    return value


def currency_of(text: str, column: str) -> str:
    """A code in either case -> capital letters. Raises BadCell."""
    code = text.upper()
    if code not in EXPONENTS or not text.isascii():
        raise BadCell(column, f"{text!r:.40} is not an ISO 4217 code in use with minor units")
    return code


def mark_of(cells: Iterable[str]) -> Mark | None:
    """The decimal mark of a file, from its cells; None where they leave it open. Raises ValueError where two cells say
    different things."""
    found: dict[str, str] = {}
    for cell in cells:
        said = _mark_in(cell)
        if said is not None:
            found.setdefault(said, cell)
    if len(found) == 2:
        raise ValueError(f"{found['.']!r:.40} and {found[',']!r:.40} have different decimal marks")
    return "." if "." in found else "," if found else None


def _mark_in(cell: str) -> Mark | None:
    marks = _MARKS.findall(cell)
    if not marks:
        return None
    last: Mark = "." if marks[-1] == "." else ","
    other: Mark = "," if last == "." else "."
    if len(set(marks)) == 2:
        return last
    if len(marks) > 1:
        return other  # 1,234,567: groups
    behind = cell.rpartition(last)[2]
    return last if len(behind) != 3 else None
