"""Adyen: the settlement details report (docs.adyen.com, settlement detail report).

Amounts are unsigned, and their column is the sign. Gross is in the currency of the payment, net in that of the
settlement; what the batch paid is net, so rows are booked in net, and the gross stands in no sum. A row is called by
(batch, type, PSP reference, modification reference): the PSP reference alone comes again with a refund. The rows of a
batch, its payout included, come to nothing in each currency; `formats` checks that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.provider_reports.amounts import Mark, currency_of, minor_of
from schemas.provider_reports.csv_rows import CsvRow
from schemas.provider_reports.model import BadCell, ReportRow, RowKind
from schemas.provider_reports.moments import local_us, zone_of

TYPE: Final = "type"
NEEDED: Final = (
    "psp reference", "creation date", "timezone", "modification reference", "net currency", "net debit (nc)",
    "net credit (nc)", "batch number",
)  # fmt: skip
AMOUNTS: Final = ("net debit (nc)", "net credit (nc)")
COSTS: Final = ("commission (nc)", "markup (nc)", "scheme fees (nc)", "interchange (nc)", "payment fees (nc)")
FORM: Final = "%Y-%m-%d %H:%M:%S"
METADATA_LINES_MAX: Final = 2  # before the header of an interactive export
KINDS: Final[dict[str, RowKind]] = {
    "settled": "payment", "refunded": "refund", "refundedreversed": "payment", "chargeback": "dispute",
    "secondchargeback": "dispute", "chargebackreversed": "dispute_won", "fee": "fee", "misccosts": "fee",
    "paymentcost": "fee", "invoicededuction": "fee", "merchantpayout": "payout", "depositcorrection": "hold",
    "balancetransfer": "hold",
}  # fmt: skip


def row_of(row: CsvRow, mark: Mark) -> ReportRow:
    """A row; its zone stands beside its time. Raises BadCell."""
    cells = row.cells
    code = currency_of(cells["net currency"], "net currency")
    net = _side(cells, "net credit (nc)", code, mark) - _side(cells, "net debit (nc)", code, mark)
    costs = sum(_side(cells, name, code, mark) for name in COSTS if name in cells)
    said = cells.get(TYPE) or cells.get("journal type") or ""
    if not said:
        raise BadCell(TYPE, "is empty")
    kind = KINDS.get(said.casefold(), "other")
    psp, modification, batch = cells["psp reference"], cells["modification reference"], cells["batch number"]
    fee = costs if kind in ("payment", "refund", "dispute", "dispute_won") else 0
    return ReportRow(
        line=row.line,
        key="/".join((batch, said, psp, modification)),
        kind=kind,
        said=said,
        references=tuple(it for it in (psp, cells.get("merchant reference", ""), modification) if it),
        amount_minor=net + fee,
        fee_minor=fee,
        currency=code,
        at_us=local_us(cells["creation date"], FORM, zone_of(cells["timezone"], "timezone"), "creation date"),
        is_day=False,
        batch=batch,
    )


def _side(cells: Mapping[str, str], column: str, code: str, mark: Mark) -> int:
    return minor_of(cells[column], code, mark, column) if cells[column] else 0
