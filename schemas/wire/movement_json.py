"""A movement of money as one line of JSON, for files and for people: `ledger_core.books.movements.forms`.

The field `movement` names the kind. Unknown keys are refused, and so is a key that stands twice, so that a misspelt or
repeated field is not dropped in silence. Does not: check amounts and accounts (`ledger_core.books.movements.booking`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from ledger_core import strict_json
from ledger_core.books.chart import BadMovement
from ledger_core.books.movements.forms import Movement
from ledger_core.books.settlements import SETTLEMENT_BYTES_MAX

LINE_BYTES_MAX: Final = 4 * SETTLEMENT_BYTES_MAX  # JSON escapes can be several times as long as what they say

_encoder: Final = msgspec.json.Encoder()

encode_movement_json = _encoder.encode
"""Movement -> one line of JSON, without the line end."""


def decode_movement_json(line: bytes) -> Movement:
    """One line -> movement. Raises BadMovement, saying which field is wrong and why."""
    if len(line) > LINE_BYTES_MAX:
        raise BadMovement("line", f"has {len(line)} bytes; the limit is {LINE_BYTES_MAX}")
    try:
        movement: Movement = msgspec.convert(strict_json.loads(line), Movement)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise BadMovement("line", str(error)) from None
    return movement


def read_movement_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, Movement]]:
    """The movements of a JSONL file with their line numbers, blank lines skipped. Raises BadMovement, naming the
    line."""
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            yield number, decode_movement_json(line)
        except BadMovement as error:
            raise BadMovement(f"line {number}", str(error)) from None
