"""Rows of the read side for people and programs: a table, CSV, JSON or Parquet, and how far the answer reaches.

Guarantees: the same rows in every form, amounts as exact minor units (JSON: decimal texts; CSV: in major units as
well). What is not a row (how far it reaches, where the next page begins) goes into the JSON object, beside a table, and
to stderr beside CSV and Parquet, which also has the position among its metadata. A file that is there is not replaced.
Does not: keep more rows than `--limit`.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import click
from rich.console import Console

from finance.cli.common import emit, is_day, json_option, load_settings, moment_of, table
from finance.settings.extras import needs_extra
from ledger_core.books.money import Money, format_major
from ledger_core.errors import Refused
from ledger_core.postgres.reading.asking import Asked, asking, is_position
from ledger_core.reading.rows import DAY_US
from ledger_core.times import EPOCH, MICROSECOND, format_time_us

LIMIT_MAX: Final = 100_000
TOKEN_SHOWN_CHARS_MAX: Final = 400  # some twenty shards; a longer one helps nobody on a terminal
FORMATS: Final = ("table", "csv", "json", "parquet")

F = TypeVar("F", bound=Callable[..., Any])


class Column(NamedTuple):
    """A column of an answer. Amounts are of the currency in the column `currency` of their row."""

    name: str  # as it is shown
    kind: Literal["text", "time", "amount", "count", "number"] = "text"  # a count may be large: JSON gives it as text
    in_tables: bool = True  # whether a table for people has it


@dataclass(slots=True)
class Shown:
    """An answer, ready to be written."""

    what: str  # of the rows, in JSON
    columns: Sequence[Column]
    rows: list[tuple[Any, ...]]  # a value a column; amounts in minor units
    position: str  # token of the position that it is about
    known_until_us: int  # what was known before is in the projection; microseconds since 1970
    cursor: str | None = None  # of the next page; None behind the last
    notes: list[str] = field(default_factory=list)  # for people
    more: Mapping[str, object] = field(default_factory=dict)  # for programs, in JSON
    ok: bool = True  # whether what was asked for was found

    @staticmethod
    def major(amount_minor: int, currency: str) -> str:
        """An amount in major units."""
        return format_major(Money(amount_minor, currency))

    def reach(self) -> list[str]:
        """How far it reaches, and how it goes on, in words."""
        known = format_time_us(self.known_until_us) if self.known_until_us else "the first entry"
        short = len(self.position) <= TOKEN_SHOWN_CHARS_MAX
        said = [
            f"position {self.position if short else 'of many shards: see --json'} "
            f"(the projection knows everything before {known})"
        ]
        if self.cursor is not None and short:
            said.append(f"there is more: add --as-known-at {self.position} --cursor {self.cursor}")
        elif self.cursor is not None:
            said.append("there is more: --json gives the position and the cursor to go on with")
        return said


class KnownAt(click.ParamType[str | int]):
    """A day (all of it, UTC), a time, or the position of an earlier answer.

    `begins`: where a stretch begins, so that what was known in front of it is meant.
    """

    name = "time|position"

    def __init__(self, *, begins: bool = False) -> None:
        self.begins = begins

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str | int:
        text = str(value)
        if isinstance(value, int) or is_position(text):
            return value if isinstance(value, int) else text
        try:
            known_us = (moment_of(text) - EPOCH) // MICROSECOND
        except click.BadParameter as error:
            return self.fail(f"{error.message}, nor the position of an answer (p1....)", param, ctx)
        if self.begins:
            return known_us - 1
        return known_us + DAY_US - 1 if is_day(text) else known_us


class Day(click.ParamType[dt.date]):
    """A day of the business time, UTC."""

    name = "day"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.date:
        if isinstance(value, dt.date):
            return value
        try:
            return dt.date.fromisoformat(str(value))
        except ValueError:
            return self.fail(f"{value!r} is not a day (2025-11-30)", param, ctx)


known_at_option: Callable[[F], F] = click.option(
    "--as-known-at", "known_at", type=KnownAt(), help="What was known then: a day (all of it), a time, or a position."
)
cursor_option: Callable[[F], F] = click.option(
    "--cursor", default="", metavar="CURSOR", help="Go on where an answer with the same --as-known-at ended."
)


def limit_option(default: int, greatest: int = LIMIT_MAX) -> Callable[[F], F]:
    """At most so many rows."""
    return click.option(
        "--limit", type=click.IntRange(1, greatest), default=default, show_default=True, help="At most so many rows."
    )


def output_options(command: F) -> F:
    """--format, --out and --json."""
    forms = click.option("--format", "form", type=click.Choice(FORMATS), default="table", help="Form of the rows.")
    out = click.option(
        "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write CSV or Parquet into this new file."
    )
    return forms(out(json_option(command)))


@contextmanager
def asked() -> Iterator[Asked]:
    """One snapshot of the read side. Raises Unavailable and Refused."""
    with asking(load_settings().database_url("reading"), application_name="finance reading") as found:
        yield found


def show(shown: Shown, form: str, out: Path | None, as_json: bool) -> None:
    """Write an answer. Raises Refused where a file cannot be written."""
    form = "json" if as_json else form
    if out is not None and form not in ("csv", "parquet"):
        raise click.UsageError("--out goes with --format csv or parquet")
    if form == "csv":
        _write(_csv(shown).encode(), out)
    elif form == "parquet":
        _write(_parquet(shown), out, binary=True)
    else:
        emit(form == "json", _object(shown), lambda console: _words(shown, console))
        return
    for line in shown.reach():
        click.echo(line, err=True)


def _words(shown: Shown, console: Console) -> None:
    chosen = [at for at, column in enumerate(shown.columns) if column.in_tables]
    columns = [shown.columns[at] for at in chosen]
    currency = _currency_at(shown)
    rows = [[_in_words(shown.columns[at], row[at], row[currency]) for at in chosen] for row in shown.rows]
    right = [column.name for column in columns if column.kind not in ("text", "time")]
    if rows:
        console.print(table([column.name for column in columns], rows, right=right))
    for line in (*shown.notes, *shown.reach()):
        console.print(line)


def _in_words(column: Column, cell: Any, currency: str) -> str:
    if cell is None:
        return ""
    if column.kind == "time":
        return f"{cell[:10]} {cell[11:19]}"
    return _major(cell, currency) if column.kind == "amount" else str(cell)


def _currency_at(shown: Shown) -> int:
    return [column.name for column in shown.columns].index("currency")


def _object(shown: Shown) -> dict[str, object]:
    rows = [
        {
            f"{column.name}_minor" if column.kind == "amount" else column.name: (
                str(cell) if column.kind in ("amount", "count") and cell is not None else cell
            )
            for column, cell in zip(shown.columns, row, strict=True)
        }
        for row in shown.rows
    ]
    return {
        "ok": shown.ok,
        shown.what: rows,
        **shown.more,
        "position": shown.position,
        "known_until": format_time_us(shown.known_until_us) if shown.known_until_us else None,
        "cursor": shown.cursor,
    }


def _csv(shown: Shown) -> str:
    names: list[str] = []
    for column in shown.columns:
        names += [column.name, f"{column.name}_minor"] if column.kind == "amount" else [column.name]
    currency = _currency_at(shown)
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\r\n")  # RFC 4180
    writer.writerow(names)
    for row in shown.rows:
        cells: list[object] = []
        for column, cell in zip(shown.columns, row, strict=True):
            cells += [_major(cell, row[currency]), cell] if column.kind == "amount" else [cell]
        writer.writerow(cells)
    return lines.getvalue()


def _parquet(shown: Shown) -> bytes:
    with needs_extra():
        import pyarrow
        import pyarrow.parquet

    text, whole = pyarrow.string(), pyarrow.int64()
    kinds = {"text": text, "time": text, "amount": pyarrow.decimal128(38), "count": whole, "number": whole}
    fields = [
        pyarrow.field(f"{column.name}_minor" if column.kind == "amount" else column.name, kinds[column.kind])
        for column in shown.columns
    ]
    schema = pyarrow.schema(fields, metadata={"finance.position": shown.position})
    columns = [
        pyarrow.array([_cell(row[at], column) for row in shown.rows], type=kinds[column.kind])
        for at, column in enumerate(shown.columns)
    ]
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(columns, schema=schema), sink)
    return sink.getvalue()


def _cell(cell: object, column: Column) -> object:
    return Decimal(str(cell)) if column.kind == "amount" and cell is not None else cell


def _major(amount_minor: int | None, currency: str) -> str:
    return "" if amount_minor is None else format_major(Money(amount_minor, currency))


def _write(data: bytes, out: Path | None, *, binary: bool = False) -> None:
    if out is None:
        if binary and sys.stdout.isatty():
            raise Refused("Parquet is not for a terminal", remedy="add --out FILE, or send the output to a file")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        with out.open("xb") as file:
            file.write(data)
    except OSError as error:
        raise Refused(
            f"{out} cannot be written: {error.strerror}", remedy="name a new file in a folder that you may write to"
        ) from error
