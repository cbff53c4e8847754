"""From a sale to its settlement event: every part finds its account, and what does not add up stays in the shop."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from ledger_core.books.sales import Royalty, Sale, SellerShare, Tax, event_id_of, refund_of, settlement_of
from ledger_core.errors import Rejected, RejectReason
from tests.support.plain_ledger import plain, written

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


def test_every_part_of_a_sale_finds_its_account() -> None:
    assert written(settlement_of(SALE).lines) == plain("""
        dr asset:psp:stripe             114.00 USD
        cr liability:payable:seller-42   69.00 USD
        cr liability:payable:seller-43   22.50 USD
        cr liability:royalties:artist-7   3.00 USD
        cr liability:tax:us-ca           10.00 USD
        cr revenue:shipping               5.00 USD
        cr revenue:fees                  10.50 USD
        dr expense:discounts              6.00 USD
    """)


def test_a_seller_who_owes_more_than_the_price_is_debited() -> None:
    sale = replace(
        SALE, shares=(SellerShare("a", 1_000), SellerShare("b", 0, discount_minor=200)), paid_minor=800,
        house_discount_minor=0, shipping_minor=0, taxes=(),
    )  # fmt: skip
    assert written(settlement_of(sale).lines) == plain("""
        dr asset:psp:stripe     8.00 USD
        cr liability:payable:a 10.00 USD
        dr liability:payable:b  2.00 USD
    """)


def test_a_seller_who_comes_twice_gets_one_line() -> None:
    sale = replace(
        SALE, shares=(SellerShare("a", 600), SellerShare("a", 400)), paid_minor=1_000,
        house_discount_minor=0, shipping_minor=0, taxes=(),
    )  # fmt: skip
    assert written(settlement_of(sale).lines) == plain("""
        dr asset:psp:stripe    10.00 USD
        cr liability:payable:a 10.00 USD
    """)


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
    assert set(written(refund.lines).splitlines()) == set(plain("""
        cr asset:psp:stripe             114.00 USD
        dr liability:payable:seller-42   69.00 USD
        dr liability:payable:seller-43   22.50 USD
        dr liability:royalties:artist-7   3.00 USD
        dr liability:tax:us-ca           10.00 USD
        dr revenue:shipping               5.00 USD
        dr revenue:fees                  10.50 USD
        cr expense:discounts              6.00 USD
    """).splitlines())  # fmt: skip
    assert (refund.reverses, refund.settlement_id, refund.event_type) == (event.event_id, "st_1", "settlement.refunded")
    assert refund.event_id != event.event_id


def test_a_partial_refund_turns_its_own_parts() -> None:
    event = settlement_of(SALE)
    back = replace(
        SALE, shares=(SellerShare("seller-43", 500, fee_minor=50),), paid_minor=500, house_discount_minor=0,
        shipping_minor=0, taxes=(), refunds=event.event_id, part="1",
    )  # fmt: skip
    refund = settlement_of(back)
    assert written(refund.lines) == plain("""
        cr asset:psp:stripe            5.00 USD
        dr liability:payable:seller-43 4.50 USD
        dr revenue:fees                0.50 USD
    """)
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
