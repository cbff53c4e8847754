"""Stripe: payout reconciliation (itemized), balance change and ending balance reports (docs.stripe.com/reports).

Columns by name, so their order and newer versions do not matter. Gross, fee and net are in the settlement currency, in
major units; net is gross less fee, which is checked. `_utc` columns are preferred: the others are of a zone that the
file does not say. A category that is not known is kept as `other`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.provider_reports.amounts import Mark, currency_of, minor_of
from schemas.provider_reports.csv_rows import CsvRow
from schemas.provider_reports.model import BadCell, ReportRow, RowKind
from schemas.provider_reports.moments import local_us, zone_of

NEEDED: Final = ("balance_transaction_id", "currency", "gross", "fee", "net", "reporting_category")
AMOUNTS: Final = ("gross", "fee", "net")
KEY: Final = "balance_transaction_id"
REFERENCES: Final = ("payment_intent_id", "charge_id", "source_id", KEY)  # by which the ledger may know it
FORM: Final = "%Y-%m-%d %H:%M:%S"
KINDS: Final[dict[str, RowKind]] = {
    "charge": "payment", "charge_failure": "refund", "partial_capture_reversal": "refund",
    "refund": "refund", "refund_failure": "payment",
    "dispute": "dispute", "dispute_reversal": "dispute_won",
    "fee": "fee", "network_cost": "fee", "tax": "fee",
    "payout": "payout", "payout_reversal": "payout", "payout_minimum_balance_hold": "hold",
    "payout_minimum_balance_release": "release", "risk_reserved_funds": "hold", "connect_reserved_funds": "hold",
}  # fmt: skip
# Stripe's decimals where they are not ISO 4217's.
EXPONENTS: Final = {"ISK": 2, "UGX": 2}


def row_of(row: CsvRow, mark: Mark, zone: str) -> ReportRow:
    """A row. `zone`: of `created`, where there is no `created_utc`. Raises BadCell."""
    cells = row.cells
    code = currency_of(cells["currency"], "currency")
    exponent = EXPONENTS.get(code)
    gross, fee, net = (minor_of(cells[name], code, mark, name, exponent) for name in AMOUNTS)
    if net != gross - fee:
        raise BadCell("net", f"{cells['net']} is not gross less fee ({cells['gross']} less {cells['fee']})")
    if not cells[KEY]:
        raise BadCell(KEY, "is empty")
    return ReportRow(
        line=row.line,
        key=cells[KEY],
        kind=KINDS.get(cells["reporting_category"], "other"),
        said=cells["reporting_category"],
        references=tuple(dict.fromkeys(cells[name] for name in REFERENCES if cells.get(name))),
        amount_minor=gross,
        fee_minor=fee,
        currency=code,
        at_us=_at(cells, zone),
        is_day=False,
        batch=cells.get("automatic_payout_id", ""),
    )


def _at(cells: Mapping[str, str], zone: str) -> int:
    for column, of in (("created_utc", "UTC"), ("created", zone)):
        if cells.get(column):
            return local_us(cells[column], FORM, zone_of(of, column), column)
    raise BadCell("created_utc", "neither created_utc nor created has a time")
