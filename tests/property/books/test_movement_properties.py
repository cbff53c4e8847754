"""Whatever money moves, its event balances in each currency, the poster takes it, and what is taken back is gone."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_core.books.chart import BadMovement, family_of, fx_account
from ledger_core.books.movements.booking import event_of
from ledger_core.books.movements.forms import (
    Adjustment,
    Capture,
    Conversion,
    DisputeLost,
    DisputeOpened,
    DisputeWon,
    Movement,
    OpeningBalance,
    OpeningLine,
    PayoutArrived,
    PayoutReturned,
    ProviderFee,
    ProviderPayout,
    Refund,
    RoyaltyPayout,
    SellerPayout,
    Share,
    TaxRemittance,
)  # fmt: skip
from ledger_core.books.sales import Sale, SellerShare, settlement_of
from ledger_core.books.settlements import SettlementEvent, SettlementLine, record_from_event
from ledger_core.posting.rules import draft

AT = dt.datetime(2025, 11, 1, 12, tzinfo=dt.UTC)
WHO: dict[str, Any] = {"settlement_id": "st_1", "occurred_at": AT}
amounts = st.integers(1, 10**15)
currencies = st.sampled_from(["USD", "JPY", "KWD", "CLF"])  # two, no, three and four decimals
names = st.sampled_from(["a", "b.2", "seller-42"])
PARTIES = ("liability:payable:a", "liability:payable:b", "liability:royalties:c", "liability:tax:d", "revenue:fees")


def balances(events: Iterable[SettlementEvent]) -> Counter[tuple[str, str]]:
    sums: Counter[tuple[str, str]] = Counter()
    for event in events:
        for line in event.lines:
            sums[line.account, line.currency] += line.amount_minor if line.side == "debit" else -line.amount_minor
    return Counter({key: value for key, value in sums.items() if value})


@st.composite
def captures(draw: st.DrawFn) -> Capture:
    cuts = sorted(draw(st.sets(st.integers(1, 9_999), max_size=len(PARTIES) - 1)))
    points = [high - low for low, high in zip([0, *cuts], [*cuts, 10_000], strict=True)]
    shares = tuple(Share(account, point) for account, point in zip(PARTIES, points, strict=False))
    return Capture(
        **WHO, provider="stripe", reference="pi_1", amount_minor=draw(amounts), currency=draw(currencies), shares=shares
    )


@st.composite
def conversions(draw: st.DrawFn, *, carried: bool = True) -> Conversion:
    sold, bought = draw(st.permutations(["USD", "JPY", "KWD", "CLF"]))[:2]
    return Conversion(
        **WHO, sold_from="asset:bank:main", sold_minor=draw(amounts), sold_currency=sold,
        bought_into="asset:psp:stripe", bought_minor=draw(amounts), bought_currency=bought,
        carried_minor=draw(st.none() | amounts) if carried else None,
    )  # fmt: skip


@st.composite
def adjustments(draw: st.DrawFn) -> Adjustment:
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        value, code = draw(amounts), draw(currencies)
        lines += [
            SettlementLine("expense:rounding", "debit", value, code),
            SettlementLine("asset:bank:main", "credit", value, code),
        ]
    return Adjustment(**WHO, reason="why", lines=tuple(lines))


@st.composite
def openings(draw: st.DrawFn) -> OpeningBalance:
    keys = draw(st.lists(st.tuples(st.sampled_from([*PARTIES, "asset:bank:x"]), currencies), min_size=1, unique=True))
    signs = st.sampled_from([1, -1])
    small = st.integers(1, 10**13)  # twenty-four of them still fit into a line
    return OpeningBalance(**WHO, balances=tuple(OpeningLine(a, draw(small) * draw(signs), c) for a, c in keys))


paid: dict[str, st.SearchStrategy[Any]] = {
    "paid_from": st.sampled_from(["asset:bank:main", "asset:psp:x"]),
    "amount_minor": amounts,
}
paid |= {"currency": currencies, "settlement_id": st.just("st_1"), "occurred_at": st.just(AT)}
took: dict[str, st.SearchStrategy[Any]] = {"provider": names, "amount_minor": amounts, "currency": currencies}
took |= {"settlement_id": st.just("st_1"), "occurred_at": st.just(AT)}
alone: st.SearchStrategy[Movement] = st.one_of(
    captures(), conversions(), adjustments(), openings(),
    st.builds(SellerPayout, payee=names, **paid), st.builds(RoyaltyPayout, holder=names, **paid),
    st.builds(TaxRemittance, jurisdiction=names, **paid), st.builds(ProviderPayout, reference=st.just("po"), **took),
    st.builds(PayoutArrived, bank=names, **took), st.builds(ProviderFee, is_for_dispute=st.booleans(), **took),
    st.builds(DisputeOpened, dispute=st.just("dp"), **took),
)  # fmt: skip


@given(alone)
def test_every_movement_balances_on_the_chart_and_the_poster_takes_it(movement: Movement) -> None:
    event = event_of(movement)
    draft(record_from_event(event), b"st_1")
    assert all(family_of(line.account) for line in event.lines)
    sums: Counter[str] = Counter()
    for (_, currency), amount in balances([event]).items():
        sums[currency] += amount
    assert not any(sums.values())
    assert event_of(movement) == event, "same movement, same event"


def _step(draw: Callable[..., Any], number: int, known: list[SettlementEvent], left: int, code: str) -> int:
    """One refund or dispute, decided one way or another; how much of the sale it took back."""
    about = {**WHO, "part": str(number)}
    amount: int = draw(st.integers(1, left))
    kind = draw(st.sampled_from(["refunded", "won", "lost", "refund failed"]))
    if kind in ("refunded", "refund failed"):
        known.append(event_of(Refund(**about, reverses=known[0].event_id, amount_minor=amount), known))
        if kind == "refunded":
            return amount
        turned = tuple(
            SettlementLine(line.account, "credit" if line.side == "debit" else "debit", line.amount_minor, code)
            for line in known[-1].lines
        )
        failed = Adjustment(**about, reason="refund failed", lines=turned, reverses=known[-1].event_id)
        known.append(event_of(failed, known))
        return 0
    form = DisputeOpened(**about, provider="stripe", dispute="dp", amount_minor=amount, currency=code)
    opening = event_of(form, known)
    known.append(opening)
    if kind == "won":
        known.append(event_of(DisputeWon(**about, reverses=opening.event_id), known))
        return 0
    known.append(event_of(DisputeLost(**about, opening=opening.event_id, captured=known[0].event_id), known))
    return amount


@given(captures(), st.data())
def test_any_chain_of_refunds_and_disputes_that_takes_a_sale_back_leaves_nothing(
    capture: Capture, data: st.DataObject
) -> None:
    known, left = [event_of(capture)], capture.amount_minor
    for number in range(data.draw(st.integers(0, 6))):
        if left:
            left -= _step(data.draw, number, known, left, capture.currency)
            assert_within(known)
    if left:
        known.append(event_of(Refund(**WHO, part="rest", reverses=known[0].event_id), known))
    for event in known:
        draft(record_from_event(event), b"st_1")
    assert not balances(known)
    with pytest.raises(BadMovement, match="amount_minor"):
        event_of(Refund(**WHO, part="more", reverses=known[0].event_id, amount_minor=1), known)


def assert_within(known: list[SettlementEvent]) -> None:
    """Nobody gave back more than he got."""
    got = balances(known[:1])
    for key, amount in balances(known).items():
        assert 0 <= amount * (1 if got[key] > 0 else -1) <= abs(got[key]) or key[0] == "asset:dispute:stripe"


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.lists(st.integers(1, 10**6)))
def test_a_sale_with_a_discount_of_the_house_is_taken_back_in_parts_as_a_whole(
    paid_minor: int, discount: int, fee: int, parts: list[int]
) -> None:
    gross = paid_minor + discount  # the fee may be more than the price: then the seller owes
    shares = (SellerShare("a", gross, fee_minor=fee),)
    sale = Sale(
        settlement_id="st_1",
        order_id="or_1",
        occurred_at=AT,
        currency="USD",
        paid_minor=paid_minor,
        shares=shares,
        collected_in="asset:psp:stripe",
        house_discount_minor=discount,
    )
    known, left = [settlement_of(sale)], paid_minor
    for number, part in enumerate(parts):
        if part <= left:
            refund = Refund(**WHO, part=str(number), reverses=known[0].event_id, amount_minor=part)
            known.append(event_of(refund, known))
            left -= part
    if left:
        known.append(event_of(Refund(**WHO, part="rest", reverses=known[0].event_id), known))
    assert not balances(known)


@given(
    st.one_of(st.builds(SellerPayout, payee=names, **paid), st.builds(ProviderPayout, reference=st.just("p"), **took))
)
def test_a_payout_that_is_returned_leaves_nothing(payout: SellerPayout | ProviderPayout) -> None:
    sent = event_of(payout)
    returned = event_of(PayoutReturned(**WHO, reverses=sent.event_id), [sent])
    assert not balances([sent, returned])
    with pytest.raises(BadMovement, match="amount_minor"):
        event_of(PayoutReturned(**WHO, part="2", reverses=sent.event_id), [sent, returned])


@given(conversions(carried=False), amounts)
def test_a_closed_position_leaves_exactly_the_realised_difference_in_clearing(closed: Conversion, carried: int) -> None:
    """The position was opened by a sale in one currency to a seller who is owed another; then the money is changed."""
    opened = Conversion(
        **WHO, part="opened", sold_from="liability:payable:a", sold_minor=carried,
        sold_currency=closed.bought_currency, bought_into="asset:bank:main", bought_minor=closed.sold_minor,
        bought_currency=closed.sold_currency,
    )  # fmt: skip
    clearing = fx_account(closed.sold_currency, closed.bought_currency)
    difference = carried - closed.bought_minor  # a debit is a loss
    left = {key: sum_ for key, sum_ in balances([event_of(opened), event_of(closed)]).items() if key[0] == clearing}
    assert left == ({(clearing, closed.bought_currency): difference} if difference else {})
    fields = {name: getattr(closed, name) for name in closed.__struct_fields__}
    realised = event_of(Conversion(**{**fields, "carried_minor": carried}))
    sums = balances([event_of(opened), realised])
    assert not [key for key in sums if key[0] == clearing]
    booked = sums["expense:fx-loss", closed.bought_currency] + sums["revenue:fx-gain", closed.bought_currency]
    assert booked == difference
