"""Every format by its name: a file's bytes to rows and faults, streamed.

Guarantees: the same bytes and options give the same rows; memory does not grow with the file (the first SAMPLE_ROWS
rows are searched for the decimal mark where none is declared). What is wrong with one row is a RowFault and the
others are read; what is wrong with the file from a line on raises BadReport.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Final, Literal, get_args

from schemas.provider_reports import adyen, camt053, mapped, paypal, stripe
from schemas.provider_reports.amounts import Mark, mark_of
from schemas.provider_reports.csv_rows import CsvRow, records, squeezed, text_lines
from schemas.provider_reports.model import BadCell, BadReport, ReportRow, RowFault

Format = Literal["stripe", "adyen", "paypal", "camt053", "csv"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
SAMPLE_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What a file does not say of itself."""

    encoding: str = "utf-8"  # where it has no byte order mark
    separator: str = ""  # of CSV cells; "": found out
    decimal_mark: Mark | None = None  # None: found out
    zone: str = "UTC"  # of local times that name none
    mapping: mapped.Mapping | None = None  # for the format csv


def read_report(
    lines: Iterable[bytes], form: Format, place: str, options: ReportOptions
) -> Iterator[ReportRow | RowFault]:
    """The rows of a report. `lines`: its bytes, at line ends; `place` names it in faults. Raises BadReport."""
    if form == "camt053":
        return camt053.rows(lines, place)
    texts = text_lines(lines, place, options.encoding)
    if form == "paypal":
        return paypal.rows(texts, place)
    if form == "stripe":
        return _of_csv(texts, place, options, stripe.NEEDED, stripe.AMOUNTS, partial(_stripe, zone=options.zone))
    amounts: tuple[str, ...] = (*adyen.AMOUNTS, *adyen.COSTS)
    if form == "adyen":
        return _of_csv(texts, place, options, adyen.NEEDED, amounts, adyen.row_of, adyen.METADATA_LINES_MAX)
    if options.mapping is None:
        raise BadReport(place, 1, "", "a CSV file needs a mapping of its columns")
    mapping = options.mapping
    amounts = tuple(it for it in (mapping.columns.amount, mapping.columns.fee) if it)
    if mapping.decimal_mark is not None:
        options = ReportOptions(options.encoding, options.separator, mapping.decimal_mark, options.zone, mapping)
    return _of_csv(texts, place, options, mapping.needed(), amounts, partial(_mapped, mapping=mapping))


def _stripe(row: CsvRow, mark: Mark, *, zone: str) -> ReportRow:
    return stripe.row_of(row, mark, zone)


def _mapped(row: CsvRow, mark: Mark, *, mapping: mapped.Mapping) -> ReportRow:
    return mapped.row_of(row, mark, mapping)


def _of_csv(
    texts: Iterator[str],
    place: str,
    options: ReportOptions,
    needed: Sequence[str],
    amounts: Sequence[str],
    row_of: Callable[[CsvRow, Mark], ReportRow],
    skip_lines_max: int = 0,
) -> Iterator[ReportRow | RowFault]:
    found = records(texts, place, needed, separator=options.separator, skip_lines_max=skip_lines_max)
    mark = options.decimal_mark
    if mark is None:
        sample = list(islice(found, SAMPLE_ROWS))
        mark = _mark(sample, [squeezed(name) for name in amounts], place)
        found = chain(sample, found)
    for it in found:
        if isinstance(it, RowFault):
            yield it
            continue
        try:
            yield row_of(it, mark)
        except BadCell as error:
            yield RowFault(it.line, error.column, error.message)


def _mark(sample: Sequence[CsvRow | RowFault], amounts: Sequence[str], place: str) -> Mark:
    """The decimal mark; a point where no cell needs one."""
    rows = [it for it in sample if isinstance(it, CsvRow)]
    cells = [row.cells[name] for row in rows for name in amounts if row.cells.get(name)]
    try:
        mark = mark_of(cells)
    except ValueError as error:
        raise BadReport(place, 1, "", f"{error}: declare --decimal-mark") from None
    if mark is None and any("." in cell or "," in cell for cell in cells):
        raise BadReport(place, 1, "", "its amounts leave open which mark is the decimal one: declare --decimal-mark")
    return mark or "."
