"""CSV files of others as records by column name, in bounded memory.

Guarantees: the whole file has one encoding (a BOM says it; else the one that is declared, UTF-8 by default) and one
separator; a row with a cell too few or too many, a line that is too long, a NUL, or a quote that is never closed is
named with its line; the header again in the middle is a fault of its row. Columns are found by name, whatever their
order, with blanks squeezed and case ignored. Does not: trust a library to convert: cells are texts.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from schemas.provider_reports.model import BadReport, RowFault

COLUMNS_MAX: Final = 500
LINE_CHARS_MAX: Final = 1_048_576
CELL_CHARS_MAX: Final = 131_072  # the csv module's own limit
SEPARATORS: Final = (",", ";", "\t", "|")
BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class CsvRow(NamedTuple):
    """Cells of a row by the squeezed lower-case names of their columns."""

    line: int  # where it ends, from 1
    cells: Mapping[str, str]  # stripped


def text_lines(lines: Iterable[bytes], place: str, encoding: str = "utf-8") -> Iterator[str]:
    """The lines as text. Raises BadReport where they are in another encoding."""
    decoder: codecs.IncrementalDecoder | None = None
    rest, number = "", 0
    try:
        for data in lines:
            if decoder is None:
                bom, encoding = next(((bom, name) for bom, name in BOMS if data.startswith(bom)), (b"", encoding))
                decoder, data = codecs.getincrementaldecoder(encoding)("strict"), data[len(bom) :]
            rest += decoder.decode(data)
            *whole, rest = rest.split("\n")
            for text in whole:
                number += 1
                yield _checked(text + "\n", place, number)
            if len(rest) > LINE_CHARS_MAX:
                raise BadReport(place, number + 1, "", f"a line has more than {LINE_CHARS_MAX:,} characters")
        if decoder is not None:
            rest += decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise BadReport(place, number + 1, "", f"it is not {encoding} ({error.reason}): declare --encoding") from None
    except LookupError:
        raise BadReport(place, 1, "", f"{encoding!r:.40} is not the name of an encoding") from None
    if rest:
        yield _checked(rest, place, number + 1)


def _checked(text: str, place: str, number: int) -> str:
    if "\0" in text:
        raise BadReport(place, number, "", "a NUL stands there: the file is damaged, or in another encoding")
    if len(text) > LINE_CHARS_MAX:
        raise BadReport(place, number, "", f"a line has more than {LINE_CHARS_MAX:,} characters")
    return text


def records(
    lines: Iterator[str], place: str, needed: Sequence[str], *, separator: str = "", skip_lines_max: int = 0
) -> Iterator[CsvRow | RowFault]:
    """The rows behind the header, which is the first line that has all `needed` columns among `skip_lines_max` + 1.

    Raises BadReport without such a header, and where a quote is not closed.
    """
    said, names, chosen = [], None, separator or ","
    for line in islice(lines, skip_lines_max + 1):
        said.append(line)
        chosen = separator or max(SEPARATORS, key=line.count)
        found = [squeezed(name) for name in next(csv.reader([line], delimiter=chosen), [])]
        if all(squeezed(name) in found for name in needed):
            names = found
            break
    number = max(1, len(said))
    if names is None:
        raise BadReport(place, number, "", f"no line has the columns {', '.join(needed)}")
    if len(names) > COLUMNS_MAX:
        raise BadReport(place, number, "", f"{len(names):,} columns: at most {COLUMNS_MAX} are read")
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise BadReport(place, number, twice, "two columns have this name")
    yield from _rows(lines, place, names, chosen, number)


def _rows(
    lines: Iterator[str], place: str, names: Sequence[str], separator: str, header_line: int
) -> Iterator[CsvRow | RowFault]:
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        began = header_line + reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise BadReport(place, began, "", f"not CSV from here on ({error})") from None
        if row is None:
            return
        line = header_line + reader.line_num
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(names):
            yield RowFault(line, "", f"{len(row)} cells, the header has {len(names)}")
        elif [squeezed(cell) for cell in row] == list(names):
            yield RowFault(line, "", "the header stands there again")
        else:
            yield CsvRow(line, {name: cell.strip() for name, cell in zip(names, row, strict=True)})


def squeezed(name: str) -> str:
    """A column's name as it is compared."""
    return re.sub(r"\s+", " ", name.strip()).casefold()
