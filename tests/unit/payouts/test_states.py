"""A payout request is in one state, whatever is on record; what is booked is what was approved."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from ledger_core.books.chart import BadMovement
from ledger_core.books.movements.booking import event_of
from ledger_core.payouts.states import GOOD_FOR, Available, PayoutApproval, PayoutRequest, asked_for, form_of
from schemas.wire.movement_json import decode_movement_json

AT = dt.datetime(2025, 11, 1, 12, tzinfo=dt.UTC)
ID = "0193a1c2-5b6e-7d10-8f22-9a3b4c5d6e7f"
MOVEMENT = asked_for(ID, payee="seller-42", amount_minor=9_710, currency="USD", paid_from="asset:bank:main", at=AT)
ASKED = PayoutRequest(
    ID, form_of(MOVEMENT), "ab" * 32, "seller-42", "USD", 9_710, 2, "r", "operator:ada", AT, AT,
)  # fmt: skip


def yes(name: str, *, counts: bool = True) -> PayoutApproval:
    return PayoutApproval(f"operator:{name}", "lead", AT, counts)


BOTH = (yes("bob"), yes("carol"))
STATES: list[tuple[dict[str, Any], str]] = [
    ({}, "waiting"),
    ({"approvals": BOTH[:1]}, "waiting"),
    ({"approvals": (BOTH[0], yes("carol", counts=False))}, "waiting"),
    ({"approvals": BOTH}, "approved"),
    ({"approvals": BOTH, "held": True}, "approved"),
    ({"approvals": BOTH, "asked_at": AT + GOOD_FOR - dt.timedelta(microseconds=1)}, "approved"),
    ({"approvals": BOTH, "asked_at": AT + GOOD_FOR}, "expired"),
    ({"asked_at": AT + GOOD_FOR}, "expired"),
    ({"closing": "rejected"}, "rejected"),
    ({"closing": "rejected", "approvals": BOTH, "asked_at": AT + GOOD_FOR}, "rejected"),
    ({"closing": "released", "approvals": BOTH}, "released"),
    ({"closing": "released", "approvals": BOTH, "asked_at": AT + GOOD_FOR}, "released"),
    ({"closing": "released", "is_rejected_by_ledger": True}, "rejected"),
    ({"closing": "released", "entry": (0, 7)}, "sent"),
    ({"closing": "rejected", "entry": (0, 7)}, "sent"),  # published by somebody without a release: it is booked
]


@pytest.mark.parametrize(("record", "state"), STATES, ids=str)
def test_what_is_on_record_gives_one_state(record: dict[str, Any], state: str) -> None:
    assert replace(ASKED, **record).state == state


def test_what_is_stored_is_what_is_booked() -> None:
    event = event_of(decode_movement_json(ASKED.form.encode()))
    assert event == event_of(MOVEMENT)
    assert (event.event_id, event.settlement_id) == (ID, f"po_{ID}")
    assert [(it.account, it.side, it.amount_minor) for it in event.lines] == [
        ("liability:payable:seller-42", "debit", 9_710),
        ("asset:bank:main", "credit", 9_710),
    ]


WRONG: list[dict[str, Any]] = [{"payee": "A seller"}, {"amount_minor": 0}, {"currency": "usd"}, {"paid_from": "x"}]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_booked_is_not_asked_for(wrong: dict[str, Any]) -> None:
    said: dict[str, Any] = {
        "payee": "seller-42",
        "amount_minor": 1,
        "currency": "USD",
        "paid_from": "asset:bank:main",
        "at": AT,
    }
    with pytest.raises(BadMovement):
        form_of(asked_for(ID, **(said | wrong)))


def test_what_is_asked_for_is_no_longer_available() -> None:
    assert Available(100, 30, {}).minor == 70
    assert Available(100, 130, {}).minor == -30
