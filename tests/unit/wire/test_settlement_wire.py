"""The settlement decoder against bombs: what a value claims costs nothing, only what it holds."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import pytest

from ledger_core.books.settlements import SETTLEMENT_BYTES_MAX
from ledger_core.errors import Rejected, RejectReason
from schemas.wire.avro import frame, put_long
from schemas.wire.journal import encode_journal
from schemas.wire.outcomes import encode_outcome
from schemas.wire.settlements import SETTLEMENT_SCHEMA_ID, decode_settlement

HEAD = frame(SETTLEMENT_SCHEMA_ID)
TEXTS = b"\x00" * 4 + b"\x00"  # four empty texts and occurred_at 0
ROOM = SETTLEMENT_BYTES_MAX - 32
MANY_LINES = ROOM // 5
NULLS = b"\x00" * 4
DENSEST = {
    "lines": HEAD + TEXTS + put_long(MANY_LINES) + b"\x00" * 5 * MANY_LINES + b"\x00" + NULLS + b"\x00",
    "metadata": HEAD + TEXTS + b"\x00" + NULLS + put_long(ROOM // 2) + b"\x00\x00" * (ROOM // 2) + b"\x00",
    "one text": HEAD + put_long(ROOM) + b"x" * ROOM + TEXTS,
}
CLAIMS = {
    "lines": HEAD + TEXTS + put_long(2**62),
    "lines in a sized block": HEAD + TEXTS + put_long(-(2**63)) + put_long(2**62),
    "a text": HEAD + put_long(2**62),
    "metadata": HEAD + TEXTS + b"\x00" + NULLS + put_long(2**62),
    "blocks of nothing": HEAD + TEXTS + b"\x01" * 1000,
}


def peak_bytes(value: bytes) -> int:
    """Of one decoding, accepted or rejected."""
    tracemalloc.start()
    with suppress(Rejected):
        decode_settlement(value)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("name", DENSEST)
def test_the_densest_value_is_decoded_in_bounded_memory(name: str) -> None:
    assert len(DENSEST[name]) <= SETTLEMENT_BYTES_MAX
    assert peak_bytes(DENSEST[name]) < 64 * SETTLEMENT_BYTES_MAX


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claimed_count_costs_nothing(name: str) -> None:
    assert peak_bytes(CLAIMS[name]) < 200_000


def test_the_largest_value_is_read_and_one_byte_more_is_oversize() -> None:
    with pytest.raises(Rejected) as caught:
        decode_settlement(HEAD + b"\x00" * (SETTLEMENT_BYTES_MAX - 4))
    assert caught.value.reason is RejectReason.OVERSIZE
    with pytest.raises(Rejected) as caught:
        decode_settlement(HEAD + b"\x00" * (SETTLEMENT_BYTES_MAX - 5))
    assert caught.value.reason is RejectReason.MALFORMED


def test_a_message_without_value_is_malformed() -> None:
    with pytest.raises(Rejected) as caught:
        decode_settlement(None)
    assert caught.value.reason is RejectReason.MALFORMED


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_hash_of_another_size_is_not_written(size: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        encode_journal(0, 1, b"{}", b"h" * size)
    with pytest.raises(ValueError, match="bytes"):
        encode_outcome(None, None, "posted", None, None, 0, 0, 1, b"h" * size)
