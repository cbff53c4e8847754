"""Whatever a sale is made of, its event balances, passes the posting rules, and a refund takes it back to nothing."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ledger_core.books.sales import Royalty, Sale, SellerShare, Tax, refund_of, settlement_of
from ledger_core.books.settlements import SettlementEvent, record_from_event
from ledger_core.posting.rules import draft

cents = st.integers(0, 10**9)
names = st.sampled_from(["a", "b", "c", "seller-42"])
royalties = st.lists(st.builds(Royalty, names, cents), max_size=2).map(tuple)
shares = st.lists(st.builds(SellerShare, names, cents, cents, cents, royalties), min_size=1, max_size=4).map(tuple)


@st.composite
def sales(draw: st.DrawFn) -> Sale:
    """A sale of which something was paid, so that it has lines."""
    sale = Sale(
        settlement_id="st_1",
        order_id="or_1",
        occurred_at=draw(st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2199, 12, 31), timezones=st.just(dt.UTC))),
        currency=draw(st.sampled_from(["USD", "JPY", "KWD"])),
        paid_minor=0,
        shares=draw(shares),
        collected_in="asset:psp:stripe",
        house_discount_minor=draw(cents),
        shipping_minor=draw(cents),
        taxes=draw(st.lists(st.builds(Tax, names, cents), max_size=2).map(tuple)),
    )
    paid = sale.shipping_minor - sale.house_discount_minor + sum(tax.amount_minor for tax in sale.taxes)
    paid += sum(share.gross_minor - share.discount_minor for share in sale.shares)
    missing = max(0, 1 - paid)
    return replace(sale, paid_minor=paid + missing, shipping_minor=sale.shipping_minor + missing)


def balances(*events: SettlementEvent) -> Counter[str]:
    found: Counter[str] = Counter()
    for event in events:
        for line in event.lines:
            found[line.account] += line.amount_minor if line.side == "debit" else -line.amount_minor
    return found


@given(sales())
def test_a_sale_becomes_a_balanced_event_that_the_poster_accepts(sale: Sale) -> None:
    event = settlement_of(sale)
    draft(record_from_event(event), b"st_1")
    found = balances(event)
    assert sum(found.values()) == 0
    assert found["asset:psp:stripe"] == sale.paid_minor
    assert found["revenue:fees"] == -sum(share.fee_minor for share in sale.shares)
    assert settlement_of(sale) == event


@given(sales())
def test_a_full_refund_takes_every_account_back_to_nothing(sale: Sale) -> None:
    event = settlement_of(sale)
    refund = refund_of(event, sale.occurred_at)
    draft(record_from_event(refund), b"st_1")
    assert not any(balances(event, refund).values())
    assert refund.event_id != event.event_id
