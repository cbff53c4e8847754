"""The publisher's settlement event cannot be constructed wrong, and JSON lines say which field is."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_core.books.sales import event_id_of
from ledger_core.books.settlements import SettlementEvent, SettlementLine, SettlementProvider, microseconds
from ledger_core.errors import Rejected, RejectReason
from schemas.wire.settlement_json import decode_settlement_json, read_settlement_lines

LINES = (SettlementLine("asset:psp:stripe", "debit", 500, "USD"), SettlementLine("revenue:fees", "credit", 500, "USD"))
FIELDS: dict[str, Any] = {
    "event_id": "018c2f9e-7a52-8b11-9d3e-aabbccddeeff",
    "event_type": "settlement.captured",
    "settlement_id": "st_1",
    "order_id": "or_1",
    "occurred_at": dt.datetime(2025, 11, 1, tzinfo=dt.UTC),
    "lines": LINES,
}
JSON = {
    "event_type": "settlement.captured",
    "settlement_id": "st_1",
    "order_id": "or_1",
    "occurred_at": "2025-11-01T00:00:00Z",
    "lines": [msgspec.to_builtins(line) for line in LINES],
}


def test_a_balanced_event_is_constructed() -> None:
    assert SettlementEvent(**FIELDS).metadata == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"event_id": "018C2F9E-7A52-8B11-9D3E-AABBCCDDEEFF"}, "event_id"),
        ({"event_id": "st_1"}, "event_id"),
        ({"reverses": "st_0"}, "reverses"),
        ({"order_id": ""}, "order_id"),
        ({"occurred_at": dt.datetime(2025, 11, 1)}, "occurred_at"),
        ({"occurred_at": dt.datetime(2025, 11, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))}, "occurred_at"),
        ({"lines": ()}, "lines"),
        ({"lines": LINES[:1]}, "unbalanced"),
        (
            {"lines": (*LINES, SettlementLine("a", "debit", 1, "EUR"), SettlementLine("b", "credit", 1, "GBP"))},
            "EUR by 1",
        ),
        ({"lines": (SettlementLine("a", "debit", 0, "USD"),)}, "amount_minor"),
        ({"lines": (SettlementLine("a", "debit", 10**15 + 1, "USD"),)}, "amount_minor"),
        ({"provider": SettlementProvider("stripe", "pi_1", 0, "USD")}, "provider.amount_minor"),
        ({"pii": {"buyer": "x"}}, "pii_salt"),
        ({"pii_salt": b"x" * 16}, "pii_salt"),
        ({"pii": {"buyer": "x"}, "pii_salt": b"x" * 15}, "pii_salt"),
    ],
)
def test_a_wrong_event_cannot_be_constructed(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        SettlementEvent(**FIELDS | change)


@given(st.datetimes(min_value=dt.datetime(1, 1, 1), timezones=st.just(dt.UTC)))
def test_microseconds_are_exact(time: dt.datetime) -> None:
    assert dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=microseconds(time)) == time


def test_a_line_without_event_id_gets_the_one_of_the_publisher_library() -> None:
    event = decode_settlement_json(json.dumps(JSON).encode())
    assert event.event_id == event_id_of("st_1", "settlement.captured", FIELDS["occurred_at"])
    assert event.lines == LINES


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"chanel": "web"}, RejectReason.MALFORMED, "chanel"),
        ({"lines": JSON["lines"][:1]}, RejectReason.UNBALANCED, "500 minor units"),
        ({"lines": [{**JSON["lines"][0], "amount_minor": 5.0}]}, RejectReason.MALFORMED, "amount_minor"),
        ({"lines": [{**JSON["lines"][0], "side": "left"}]}, RejectReason.MALFORMED, "side"),
        ({"occurred_at": "2025-11-01T00:00:00"}, RejectReason.MALFORMED, "occurred_at"),
        ({"occurred_at": 5}, RejectReason.MALFORMED, "Expected"),
        ({"settlement_id": None}, RejectReason.MALFORMED, "settlement_id"),
        ({"event_id": "x"}, RejectReason.MALFORMED, "event_id"),
    ],
)
def test_a_wrong_line_is_rejected_with_its_number_and_field(
    change: dict[str, Any], reason: RejectReason, words: str
) -> None:
    lines = [json.dumps(JSON).encode(), b"\n", json.dumps(JSON | change).encode()]
    with pytest.raises(Rejected, match=words) as caught:
        list(read_settlement_lines(lines))
    assert caught.value.reason is reason
    assert caught.value.detail.startswith("line 3: ")


@pytest.mark.parametrize("line", [b"", b"[]", b"{", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_event_is_rejected(line: bytes) -> None:
    with pytest.raises(Rejected):
        decode_settlement_json(line)
