"""Each movement finds its accounts, as docs/ACCOUNTS.md shows; what cannot be booked names the field."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from ledger_core.books.chart import CHART, BadMovement, family_of
from ledger_core.books.entries import Provider
from ledger_core.books.movements.booking import event_of, event_of_entry
from ledger_core.books.movements.examples import EXAMPLES, booked, template
from ledger_core.books.movements.forms import (
    Capture,
    Conversion,
    DisputeLost,
    DisputeOpened,
    DisputeWon,
    Movement,
    PayoutReturned,
    Refund,
    SellerPayout,
)  # fmt: skip
from ledger_core.books.settlements import SettlementEvent, SettlementLine, SettlementProvider
from tests.support.journal_factory import TinyShard
from tests.support.plain_ledger import plain, written

AT = dt.datetime(2025, 11, 1, 12, tzinfo=dt.UTC)
PAGE = (Path(__file__).parents[3] / "docs" / "ACCOUNTS.md").read_text("utf-8")
BOOKED = list(booked())
KNOWN = [it.event for it in BOOKED if it.event.settlement_id == "st_1"]
SALE = KNOWN[0]
OPENING = next(it.event for it in BOOKED if isinstance(it.movement, DisputeOpened))


def rows(heading: str) -> list[str]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


def test_the_chart_on_the_page_is_the_chart() -> None:
    assert rows("Chart") == [f"| `{it.pattern}` | {it.side} | {it.says} |" for it in CHART]


def test_the_page_shows_how_each_movement_is_booked() -> None:
    shown = dict.fromkeys(f"| `{it.event.event_type}` {template(it.event)}" for it in BOOKED)
    assert rows("Movements") == list(shown)


def test_every_kind_of_movement_has_an_example_and_every_finding_its_row() -> None:
    assert {type(it) for it in EXAMPLES} == set(get_args(Movement))
    source = (Path(__file__).parents[3] / "ledger_core/reading/reversals.py").read_text("utf-8")
    assert {row.split("`")[1] for row in rows("Over-refunds")} == set(re.findall(r'"(reversal\.\w+)"', source))


def test_each_account_belongs_to_one_family() -> None:
    for family in CHART:
        account = family.of("a.b-c", "x") if family.name else family.path
        assert [it for it in CHART if it.has(account)] == [family]
    assert family_of("asset:psp:") is None
    assert family_of("revenue:fees:more") is None


@pytest.mark.parametrize("movement", EXAMPLES, ids=[type(it).__name__ for it in EXAMPLES])
def test_a_movement_is_one_line_of_json(movement: Movement) -> None:
    line = msgspec.json.encode(movement)
    assert msgspec.json.decode(line, type=Movement) == movement
    kind = msgspec.json.decode(line)["movement"]
    assert kind in {it.event.event_type for it in BOOKED if it.movement is movement}


def test_each_kind_of_movement_makes_an_event_of_its_own_type() -> None:
    for movement, event in BOOKED:
        assert event.event_type == msgspec.json.decode(msgspec.json.encode(movement))["movement"]


def test_only_what_takes_something_back_reverses() -> None:
    assert {it.event.event_type for it in BOOKED if it.event.reverses} == {
        "settlement.refunded", "dispute.won", "dispute.lost", "payout.returned",
    }  # fmt: skip


def test_a_part_is_taken_from_everybody_in_proportion() -> None:
    refund = next(it.event for it in BOOKED if isinstance(it.movement, Refund))
    assert written(refund.lines) == plain("""
        cr asset:psp:stripe              9.99 USD
        dr liability:payable:seller-42   7.99 USD
        dr liability:royalties:artist-7  0.50 USD
        dr liability:tax:us-ca           1.00 USD
        dr revenue:fees                  0.50 USD
    """)
    assert refund.provider is not None
    assert (refund.provider.reference, refund.provider.amount_minor) == ("pi_1", 999)


def test_an_event_id_of_the_request_is_kept_and_parts_have_their_own() -> None:
    base: dict[str, Any] = {"settlement_id": "po_1", "occurred_at": AT, "payee": "a", "paid_from": "asset:bank:b"}
    base |= {"amount_minor": 1, "currency": "USD"}
    one = "00000000-0000-8000-8000-000000000001"
    assert event_of(SellerPayout(**base, event_id=one)).event_id == one
    assert event_of(SellerPayout(**base)).event_id != event_of(SellerPayout(**base, part="2")).event_id
    assert event_of(SellerPayout(**base)).order_id == "po_1"


def changed(kind: type[Movement], **fields: Any) -> Movement:
    movement = next(it for it in EXAMPLES if type(it) is kind)
    return msgspec.structs.replace(movement, **fields)


NO_EVENT = "00000000-0000-8000-8000-00000000000f"
BAD: list[tuple[str, Movement, str]] = [
    *((f"amount {it!r}", changed(SellerPayout, amount_minor=it), "amount_minor") for it in (0, -1, 10**15 + 1, True)),
    ("currency", changed(SellerPayout, currency="usd"), "currency"),
    ("payee", changed(SellerPayout, payee="Seller 42"), "payee"),
    ("no payee", changed(SellerPayout, payee=""), "payee"),
    ("paid from a payable", changed(SellerPayout, paid_from="liability:payable:b"), "paid_from"),
    ("settlement", changed(SellerPayout, settlement_id=""), "settlement_id"),
    ("event id", changed(SellerPayout, event_id="42"), "event_id"),
    ("time zone", changed(SellerPayout, occurred_at=AT.replace(tzinfo=None)), "occurred_at"),
    ("reference", changed(Capture, reference=""), "reference"),
    ("provider", changed(Capture, provider="Stripe!"), "provider"),
    ("no shares", changed(Capture, shares=()), "shares"),
    ("refund of nothing known", changed(Refund, reverses=NO_EVENT), "reverses"),
    ("refund beyond what is left", changed(Refund, amount_minor=10_001), "amount_minor"),
    ("of a conversion", changed(Refund, part="9", reverses=OPENING.event_id, amount_minor=9_999), "amount_minor"),
    ("won of a sale", changed(DisputeWon, reverses=SALE.event_id), "reverses"),
    ("won twice", changed(DisputeWon, part="9"), "amount_minor"),
    ("lost of nothing", changed(DisputeLost, opening=NO_EVENT), "opening"),
    ("lost of no sale", changed(DisputeLost, opening=OPENING.event_id, captured=NO_EVENT), "amount_minor"),
    ("returned sale", changed(PayoutReturned, settlement_id="st_1", reverses=SALE.event_id), "reverses"),
    ("one currency", changed(Conversion, bought_currency="EUR"), "bought_currency"),
]  # fmt: skip


@pytest.mark.parametrize(("movement", "field"), [it[1:] for it in BAD], ids=[it[0] for it in BAD])
def test_what_cannot_be_booked_names_the_field(movement: Movement, field: str) -> None:
    known = KNOWN if movement.settlement_id == "st_1" else []
    with pytest.raises(BadMovement) as raised:
        event_of(movement, known)
    assert raised.value.field == field
    assert str(raised.value).startswith(f"{field}: ")


def test_what_is_given_as_known_must_be_of_the_settlement() -> None:
    with pytest.raises(BadMovement, match="settlement_id: is po_2"):
        event_of(changed(PayoutReturned, settlement_id="po_2"), KNOWN)


def test_a_dispute_with_events_of_the_read_side_is_bounded_by_its_account() -> None:
    """The read side has no metadata, which say which opening a lost dispute closed."""
    bare = [
        SettlementEvent(
            event_id=it.event_id, event_type=it.event_type, settlement_id="st_1", order_id="or_1", occurred_at=AT,
            lines=tuple(SettlementLine(*line) for line in map(msgspec.structs.astuple, it.lines)), reverses=it.reverses,
        )
        for it in KNOWN
    ]  # fmt: skip
    for opening in (it for it in bare if it.event_type == "dispute.opened"):
        again = DisputeLost(settlement_id="st_1", occurred_at=AT, part="again", opening=opening.event_id)
        with pytest.raises(BadMovement, match="left in dispute"):
            event_of(again, bare)


@pytest.mark.parametrize("more", [{}, {"amount_minor": 400}])
def test_what_is_asked_for_again_is_the_same_event_whatever_came_behind_it(more: dict[str, Any]) -> None:
    first = event_of(Refund(settlement_id="st_1", occurred_at=AT, part="again", reverses=SALE.event_id, **more), [SALE])
    behind = event_of(
        Refund(settlement_id="st_1", occurred_at=AT, part="later", reverses=SALE.event_id, amount_minor=1), [SALE]
    )
    form = Refund(settlement_id="st_1", occurred_at=AT, part="again", reverses=SALE.event_id, **more)
    assert event_of(form, [SALE, first, behind]) == first


def test_an_entry_is_the_event_it_was_made_of() -> None:
    entry = TinyShard().post(3).entries[2].entry
    event = event_of_entry(entry)
    assert (event.event_id, event.settlement_id, event.reverses) == (entry.event_id, entry.settlement_id, None)
    assert [(it.account, it.side, str(it.amount_minor)) for it in event.lines] == [
        (it.account, it.side, it.amount_minor) for it in entry.lines
    ]
    asked = msgspec.structs.replace(
        entry, provider=Provider(name="stripe", reference="pi_2", amount_minor="102", currency="USD")
    )
    assert event_of_entry(asked).provider == SettlementProvider("stripe", "pi_2", 102, "USD")
