"""From a sale to its settlement event: every part finds its account, and what does not add up stays in the shop."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from ledger_core.books.sales import Royalty, Sale, SellerShare, Tax, event_id_of, refund_of, settlement_of
from ledger_core.books.settlements import SettlementEvent
from ledger_core.errors import Rejected, RejectReason

AT = dt.datetime(2025, 11, 1, 12, 0, 0, 123_456, tzinfo=dt.UTC)
SALE = Sale(
    settlement_id="st_1",
    order_id="or_1",
    occurred_at=AT,
    currency="USD",
    paid_minor=11_400,
    shares=(
        SellerShare("seller-42", 8_000, fee_minor=800, royalties=(Royalty("artist-7", 300),)),
        SellerShare("seller-43", 3_000, discount_minor=500, fee_minor=250),
    ),
    house_discount_minor=600,
    shipping_minor=500,
    taxes=(Tax("us-ca", 1_000),),
    collected_in="asset:psp:stripe",
)


def ledger(event: SettlementEvent) -> str:
    """The lines as an accountant writes them."""
    rows = (f"{'dr' if line.side == 'debit' else 'cr'} {line.account} {line.amount_minor}" for line in event.lines)
    return "\n".join(rows)


def test_every_part_of_a_sale_finds_its_account() -> None:
    assert ledger(settlement_of(SALE)) == (
        "dr asset:psp:stripe 11400\n"
        "cr liability:payable:seller-42 6900\n"
        "cr liability:payable:seller-43 2250\n"
        "cr liability:royalties:artist-7 300\n"
        "cr liability:tax:us-ca 1000\n"
        "cr revenue:shipping 500\n"
        "cr revenue:fees 1050\n"
        "dr expense:discounts 600"
    )


def test_a_seller_who_owes_more_than_the_price_is_debited() -> None:
    sale = replace(
        SALE, shares=(SellerShare("a", 1_000), SellerShare("b", 0, discount_minor=200)), paid_minor=800,
        house_discount_minor=0, shipping_minor=0, taxes=(),
    )  # fmt: skip
    assert ledger(settlement_of(sale)) == (
        "dr asset:psp:stripe 800\ncr liability:payable:a 1000\ndr liability:payable:b 200"
    )


def test_a_seller_who_comes_twice_gets_one_line() -> None:
    sale = replace(
        SALE, shares=(SellerShare("a", 600), SellerShare("a", 400)), paid_minor=1_000,
        house_discount_minor=0, shipping_minor=0, taxes=(),
    )  # fmt: skip
    assert ledger(settlement_of(sale)) == "dr asset:psp:stripe 1000\ncr liability:payable:a 1000"


@pytest.mark.parametrize("paid_minor", [11_399, 11_401, 0])
def test_a_sale_that_does_not_add_up_to_what_was_paid_is_refused(paid_minor: int) -> None:
    with pytest.raises(Rejected, match="11400") as caught:
        settlement_of(replace(SALE, paid_minor=paid_minor))
    assert caught.value.reason is RejectReason.UNBALANCED


@pytest.mark.parametrize(
    "change",
    [
        {"shipping_minor": -1, "paid_minor": 10_899},
        {"house_discount_minor": -1, "paid_minor": 12_001},
        {"taxes": (Tax("us-ca", -1),), "paid_minor": 10_399},
        {"shares": (SellerShare("a", -1),), "paid_minor": 899},
        {"shares": (SellerShare("a", 1, fee_minor=-1),), "paid_minor": 901},
        {"shares": (SellerShare("a", 1, royalties=(Royalty("b", -1),)),), "paid_minor": 901},
    ],
)
def test_a_negative_part_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as caught:
        settlement_of(replace(SALE, **change))
    assert caught.value.reason is RejectReason.BAD_AMOUNT


def test_a_full_refund_turns_every_line_and_names_the_event_it_reverses() -> None:
    event = settlement_of(SALE)
    refund = refund_of(event, AT + dt.timedelta(days=2))
    sides = {(line.account, line.side, line.amount_minor) for line in event.lines}
    turned = {
        (line.account, "debit" if line.side == "credit" else "credit", line.amount_minor) for line in refund.lines
    }
    assert turned == sides
    assert (refund.reverses, refund.settlement_id, refund.event_type) == (event.event_id, "st_1", "settlement.refunded")
    assert refund.event_id != event.event_id


def test_a_partial_refund_turns_its_own_parts() -> None:
    event = settlement_of(SALE)
    back = replace(
        SALE, shares=(SellerShare("seller-43", 500, fee_minor=50),), paid_minor=500, house_discount_minor=0,
        shipping_minor=0, taxes=(), refunds=event.event_id, part="1",
    )  # fmt: skip
    refund = settlement_of(back)
    assert ledger(refund) == "cr asset:psp:stripe 500\ndr liability:payable:seller-43 450\ndr revenue:fees 50"
    assert refund.reverses == event.event_id
    assert settlement_of(replace(back, part="2")).event_id != refund.event_id


def test_the_same_sale_has_the_same_event_id_and_another_one_another() -> None:
    assert settlement_of(SALE).event_id == settlement_of(replace(SALE, metadata={"a": "b"})).event_id
    ids = {
        event_id_of("st_1", "settlement.captured", AT),
        event_id_of("st_2", "settlement.captured", AT),
        event_id_of("st_1", "settlement.refunded", AT),
        event_id_of("st_1", "settlement.captured", AT, "1"),
        event_id_of("st_1", "settlement.captured", AT + dt.timedelta(milliseconds=1)),
    }
    assert len(ids) == 5


def test_an_event_id_is_a_uuid_of_version_8_that_begins_with_the_millisecond() -> None:
    found = UUID(event_id_of("st_1", "settlement.captured", AT))
    assert (found.version, found.variant) == (8, "specified in RFC 4122")
    assert found.int >> 80 == int(AT.timestamp()) * 1000 + 123
    assert str(found) == event_id_of("st_1", "settlement.captured", AT)
