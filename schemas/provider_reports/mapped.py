"""CSV of any provider, by a mapping of its columns that a user writes: a small YAML file.

    columns: {key: Txn, kind: What, reference: Order, amount: Betrag, fee: Gebuehr, currency: Waehrung, at: Datum}
    kinds: {SALE: payment, REFUND: refund}      # what is not named is `other`
    currency: EUR                               # where no column has it
    time: "%d.%m.%Y %H:%M:%S"                   # strptime; without a time of day: a day
    zone: Europe/Zurich
    decimal_mark: ","
    sign: {column: Typ, negative: [D, Debit]}   # where amounts are unsigned

Guarantees: a mapping is closed: an unknown word is refused. Does not: compute.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from schemas.provider_reports.amounts import Mark, currency_of, minor_of
from schemas.provider_reports.csv_rows import CsvRow, squeezed
from schemas.provider_reports.model import BadCell, ReportRow, RowKind
from schemas.provider_reports.moments import local_us, zone_of

DAY_FORMS: Final = ("%H", "%M", "%S", "%I", "%T", "%X", "%c")  # a time has one of these


class MappedColumns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which column has what."""

    key: str  # the provider's own name of the row
    amount: str  # before fees, in major units
    at: str  # when
    kind: str = ""  # what happened
    reference: str = ""  # by which the ledger may know it
    fee: str = ""  # what the provider took
    currency: str = ""  # a code
    batch: str = ""  # the payout it belongs to


class MappedSign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the sign stands, when amounts have none."""

    column: str  # that has a word
    negative: tuple[str, ...]  # words of rows that lower the balance


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping as it stands in its file."""

    columns: MappedColumns
    time: str  # strptime
    zone: str = "UTC"  # of the times
    kinds: dict[str, Literal[get_args(RowKind)]] = {}  # type: ignore[valid-type]  # word of the column `kind` -> kind
    currency: str = ""  # where no column has it
    decimal_mark: Literal[".", ","] | None = None  # None: found out
    sign: MappedSign | None = None  # None: amounts have their sign

    def needed(self) -> tuple[str, ...]:
        """The columns that the file must have."""
        named = [getattr(self.columns, name) for name in self.columns.__struct_fields__]
        return tuple(dict.fromkeys(it for it in (*named, self.sign.column if self.sign else "") if it))


def row_of(row: CsvRow, mark: Mark, mapping: Mapping) -> ReportRow:
    """A row. Raises BadCell."""
    columns = mapping.columns

    def cell(name: str) -> str:
        return row.cells[squeezed(name)] if name else ""

    code = currency_of(cell(columns.currency) or mapping.currency, columns.currency or "currency")
    amount = minor_of(cell(columns.amount), code, mark, columns.amount)
    if mapping.sign is not None:
        if amount < 0:
            raise BadCell(columns.amount, "is negative, and its sign has a column of its own")
        amount = -amount if cell(mapping.sign.column) in mapping.sign.negative else amount
    fee = minor_of(cell(columns.fee), code, mark, columns.fee) if cell(columns.fee) else 0
    key, said = cell(columns.key), cell(columns.kind)
    if not key:
        raise BadCell(columns.key, "is empty")
    return ReportRow(
        line=row.line,
        key=key,
        kind=mapping.kinds.get(said, "other"),
        said=said,
        references=tuple(dict.fromkeys(it for it in (cell(columns.reference), key) if it)),
        amount_minor=amount,
        fee_minor=fee,
        currency=code,
        at_us=local_us(cell(columns.at), mapping.time, zone_of(mapping.zone, "zone"), columns.at),
        is_day=not any(part in mapping.time for part in DAY_FORMS),
        batch=cell(columns.batch),
    )
