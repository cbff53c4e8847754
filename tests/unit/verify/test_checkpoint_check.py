"""A checkpoint against its record: each thing that the text says is compared, and what nobody knows is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ledger_core.proving.checkpoint import parse_record_text, record_text
from ledger_core.tree import CompactRange, leaf_hash
from ledger_core.verify.checkpoint_check import FIELDS, RecordEnd, difference

ENTRIES = CompactRange().extend([leaf_hash(bytes([number])) for number in range(5)])
VERDICTS = CompactRange().extend([leaf_hash(b"verdict"), leaf_hash(b"another")])
TEXT = record_text("example.com/finance/prod/ledger/3", 10, ENTRIES, VERDICTS)
END = RecordEnd("prod", 3, 5, 17, ENTRIES.root().hex(), VERDICTS)
FEWER = CompactRange().extend([leaf_hash(b"verdict")])


def told(end: RecordEnd, **changed: Any) -> str | None:
    origin, size, root, record = parse_record_text(TEXT)
    found = difference(origin, size, root, dataclasses.replace(record, **changed), end)
    return None if found is None else found[0]


def test_what_agrees_has_no_difference() -> None:
    assert told(END) is None
    assert told(dataclasses.replace(END, root=None, verdicts=None)) is None


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"env": "dev"}, "origin"),
        ({"shard": 4}, "origin"),
        ({"size": 4}, "size"),
        ({"next_offset": 16}, "size"),
        ({"root": FEWER.root().hex()}, "root"),
        ({"verdicts": FEWER}, "verdicts"),
        ({"verdicts": CompactRange()}, "verdicts"),
    ],
)
def test_each_thing_that_the_record_gives_is_compared(changed: dict[str, Any], expected: str) -> None:
    assert told(dataclasses.replace(END, **changed)) == expected
    assert expected in FIELDS


def test_a_count_of_verdict_lines_beside_the_right_root_is_found() -> None:
    """A text may shift its beginning and its count together, and still add up."""
    assert told(END, first_offset=11, verdict_count=1) == "verdicts"
