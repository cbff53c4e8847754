"""Movements as lines of JSON: every kind comes back as it went, and one that has two readings is refused."""

from __future__ import annotations

import pytest

from ledger_core.books.chart import BadMovement
from ledger_core.books.movements.examples import EXAMPLES
from ledger_core.books.movements.forms import Movement
from schemas.wire.movement_json import LINE_BYTES_MAX, decode_movement_json, encode_movement_json, read_movement_lines

LINE = encode_movement_json(EXAMPLES[0])


@pytest.mark.parametrize("movement", EXAMPLES, ids=lambda it: type(it).__name__)
def test_every_kind_is_read_as_it_was_written(movement: Movement) -> None:
    assert decode_movement_json(encode_movement_json(movement)) == movement


BAD = {
    "no JSON": (b"{", "Expecting"),
    "no kind": (b"{}", "movement"),
    "another kind": (b'{"movement":"settlement.gone"}', "settlement.gone"),
    "a field that nobody knows": (LINE[:-1] + b',"amout":1}', "amout"),
    "a key twice": (LINE[:-1] + b',"settlement_id":"st_2"}', "stands there twice"),
    "a list": (b"[]", "object"),
    "NaN": (LINE.replace(b'"500000"', b"NaN").replace(b":500000", b":NaN"), "NaN is not JSON"),
    "an amount with decimals": (LINE.replace(b":500000", b":5.5"), "int"),
    "no UTF-8": (b'"\xff"', "utf-8"),
    "nested too deeply": (b"[" * 100_000, "too deeply"),
    "too long": (b" " * (LINE_BYTES_MAX + 1), "the limit is"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_movement_is_refused_by_its_line(kind: str) -> None:
    line, message = BAD[kind]
    with pytest.raises(BadMovement, match=message):
        decode_movement_json(line)
    if not line.isspace():
        with pytest.raises(BadMovement, match="line 3: "):
            list(read_movement_lines([LINE, b"\n", line]))
