"""PayPal: the settlement report, STL (developer.paypal.com, settlement report), version 009 and later.

The first cell of a line is its type: RH and FH open a file, SH a section, CH names its columns, SB is a row, SC counts
them, FF closes the file: without it the file is cut off. Amounts are minor units without a mark, their sign a column
beside them. The first two digits after the T of an event code say what happened; a code that is not known is `other`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from typing import Final

from schemas.provider_reports.amounts import currency_of, integer_of
from schemas.provider_reports.csv_rows import squeezed
from schemas.provider_reports.model import BadCell, BadReport, ReportRow, RowFault, RowKind
from schemas.provider_reports.moments import local_us, zone_of

FORM: Final = "%Y/%m/%d %H:%M:%S"
NEEDED: Final = (
    "transaction id", "transaction event code", "transaction completion date", "transaction debit or credit",
    "gross transaction amount", "gross transaction currency", "fee debit or credit", "fee amount",
)  # fmt: skip
SIDES: Final = {"CR": 1, "DR": -1}
GROUPS: Final[dict[str, RowKind]] = {
    "T00": "payment", "T01": "fee", "T02": "conversion", "T03": "other", "T04": "payout", "T11": "refund",
    "T12": "dispute", "T13": "pending", "T15": "hold", "T21": "hold",
}  # fmt: skip
CODES: Final[dict[str, RowKind]] = {
    "T1108": "fee", "T1109": "fee", "T1110": "hold", "T1111": "release", "T1105": "release", "T1202": "dispute_won",
    "T1205": "other", "T0001": "payout", "T0104": "fee", "T1114": "payout", "T1115": "payout", "T1503": "hold",
}  # fmt: skip


def rows(lines: Iterator[str], place: str) -> Iterator[ReportRow | RowFault]:
    """The rows of a file. Raises BadReport for one that is cut off, or another kind of file."""
    reader = csv.reader(lines, strict=True)
    names: list[str] | None = None
    count, is_closed, is_open = 0, False, False
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise BadReport(place, reader.line_num + 1, "", f"not CSV from here on ({error})") from None
        if cells is None:
            break
        line, kind = reader.line_num, cells[0].strip() if cells else ""
        if kind == "RH":
            is_open = True
        elif kind == "CH":
            names = [squeezed(name) for name in cells[1:]]
            lacking = [name for name in NEEDED if name not in names]
            if lacking:
                raise BadReport(place, line, "", f"the columns {', '.join(lacking)} are missing")
        elif kind == "SB":
            if names is None:
                raise BadReport(place, line, "", "a row before the names of its columns (CH)")
            count += 1
            yield _row(cells[1:], names, line)
        elif kind == "SC" and len(cells) > 1:
            if cells[1].strip() != str(count):
                raise BadReport(place, line, "", f"the section says {cells[1]:.20} rows, and has {count}")
            count = 0
        elif kind == "FF":
            is_closed = True
    if not is_open:
        raise BadReport(place, 1, "", "it does not begin as a settlement report (RH)")
    if not is_closed:
        raise BadReport(place, reader.line_num, "", "it is cut off: it has no end (FF)")


def _row(cells: list[str], names: list[str], line: int) -> ReportRow | RowFault:
    if len(cells) != len(names):
        return RowFault(line, "", f"{len(cells)} cells, the section has {len(names)} columns")
    try:
        return _of(dict(zip(names, (cell.strip() for cell in cells), strict=True)), line)
    except BadCell as error:
        return RowFault(line, error.column, error.message)


def _of(cells: Mapping[str, str], line: int) -> ReportRow:
    code, said = currency_of(cells["gross transaction currency"], "gross transaction currency"), ""
    said = cells["transaction event code"]
    kind = CODES.get(said) or GROUPS.get(said[:3], "other")
    gross = _signed(cells, "transaction debit or credit", "gross transaction amount")
    fee = -_signed(cells, "fee debit or credit", "fee amount") if cells["fee amount"] else 0
    if fee and cells.get("fee currency", code) not in ("", code):
        raise BadCell("fee currency", f"{cells['fee currency']:.10} is not {code}, the currency of the row")
    local, _, offset = cells["transaction completion date"].rpartition(" ")
    zone = zone_of(offset, "transaction completion date")
    names = ("paypal reference id", "invoice id", "transaction id", "custom field", "bank reference id")
    return ReportRow(
        line=line,
        key=f"{cells['transaction id']}/{said}",
        kind=kind,
        said=said,
        references=tuple(dict.fromkeys(cells[name] for name in names if cells.get(name))),
        amount_minor=gross,
        fee_minor=fee,
        currency=code,
        at_us=local_us(local, FORM, zone, "transaction completion date"),
        is_day=False,
        batch=cells.get("bank reference id", ""),
    )


def _signed(cells: Mapping[str, str], side: str, amount: str) -> int:
    sign = SIDES.get(cells[side])
    if sign is None:
        raise BadCell(side, f"{cells[side]!r:.20} is neither CR nor DR")
    value = integer_of(cells[amount], amount)
    if value < 0:
        raise BadCell(amount, "is negative, and its sign has a column of its own")
    return sign * value
