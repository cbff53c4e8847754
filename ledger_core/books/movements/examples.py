"""One movement of each kind, as a story of one seller: for docs/ACCOUNTS.md, `finance movement kinds` and the tests.

Guarantees: every kind of movement is there once or more, and can be booked in this order.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final, NamedTuple

from ledger_core.books.chart import family_of
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
from ledger_core.books.sales import event_id_of
from ledger_core.books.settlements import SettlementEvent, SettlementLine

_AT: Final = dt.datetime(2025, 11, 1, 12, tzinfo=dt.UTC)
_CAPTURE: Final = event_id_of("st_1", "settlement.captured", _AT)
_DISPUTE: Final = event_id_of("st_1", "dispute.opened", _AT, "1")
_DISPUTE_2: Final = event_id_of("st_1", "dispute.opened", _AT, "2")
_DISPUTE_3: Final = event_id_of("st_1", "dispute.opened", _AT, "3")
_PAYOUT: Final = event_id_of("po_1", "payout.sent", _AT)
_SHARES: Final = (
    Share("liability:payable:seller-42", 8_000), Share("liability:royalties:artist-7", 500),
    Share("liability:tax:us-ca", 1_000), Share("revenue:fees", 500),
)  # fmt: skip
EXAMPLES: Final[tuple[Movement, ...]] = (
    OpeningBalance(
        settlement_id="open_2025", occurred_at=_AT, balances=(OpeningLine("asset:bank:main", 500_000, "USD"),),
    ),
    Capture(
        settlement_id="st_1", order_id="or_1", occurred_at=_AT, provider="stripe", reference="pi_1",
        amount_minor=10_000, currency="USD", shares=_SHARES,
    ),
    Refund(settlement_id="st_1", order_id="or_1", occurred_at=_AT, part="1", reverses=_CAPTURE, amount_minor=999),
    DisputeOpened(
        settlement_id="st_1", order_id="or_1", occurred_at=_AT, part="1", provider="stripe", dispute="dp_1",
        amount_minor=4_000, currency="USD",
    ),
    DisputeWon(settlement_id="st_1", order_id="or_1", occurred_at=_AT, part="1", reverses=_DISPUTE),
    DisputeOpened(
        settlement_id="st_1", order_id="or_1", occurred_at=_AT, part="2", provider="stripe", dispute="dp_2",
        amount_minor=4_000, currency="USD",
    ),
    DisputeLost(
        settlement_id="st_1", order_id="or_1", occurred_at=_AT, part="2", opening=_DISPUTE_2, captured=_CAPTURE,
    ),
    DisputeOpened(
        settlement_id="st_1", order_id="or_1", occurred_at=_AT, part="3", provider="stripe", dispute="dp_3",
        amount_minor=1_000, currency="USD",
    ),
    DisputeLost(settlement_id="st_1", order_id="or_1", occurred_at=_AT, part="3", opening=_DISPUTE_3),
    ProviderFee(
        settlement_id="st_1", order_id="or_1", occurred_at=_AT, provider="stripe", amount_minor=320, currency="USD",
    ),
    ProviderFee(
        settlement_id="st_1", order_id="or_1", occurred_at=_AT, part="dp_2", provider="stripe", amount_minor=1_500,
        currency="USD", is_for_dispute=True,
    ),
    ProviderPayout(
        settlement_id="stripe_po_9", occurred_at=_AT, provider="stripe", reference="po_9", amount_minor=2_000,
        currency="USD",
    ),
    PayoutArrived(
        settlement_id="stripe_po_9", occurred_at=_AT, provider="stripe", bank="main", amount_minor=2_000,
        currency="USD",
    ),
    SellerPayout(
        settlement_id="po_1", occurred_at=_AT, payee="seller-42", paid_from="asset:bank:main", amount_minor=3_000,
        currency="USD",
    ),
    PayoutReturned(settlement_id="po_1", occurred_at=_AT, reverses=_PAYOUT),
    RoyaltyPayout(
        settlement_id="ro_1", occurred_at=_AT, holder="artist-7", paid_from="asset:bank:main", amount_minor=200,
        currency="USD",
    ),
    TaxRemittance(
        settlement_id="tax_2025_11", occurred_at=_AT, jurisdiction="us-ca", paid_from="asset:bank:main",
        amount_minor=400, currency="USD",
    ),
    Conversion(
        settlement_id="fx_1", occurred_at=_AT, sold_from="asset:bank:main", sold_minor=10_000, sold_currency="EUR",
        bought_into="asset:bank:main", bought_minor=10_800, bought_currency="USD", carried_minor=11_000,
    ),
    Conversion(
        settlement_id="fx_2", occurred_at=_AT, sold_from="asset:bank:main", sold_minor=10_000, sold_currency="EUR",
        bought_into="asset:bank:main", bought_minor=11_200, bought_currency="USD", carried_minor=11_000,
    ),
    Adjustment(
        settlement_id="adj_1", occurred_at=_AT, reason="the bank rounded a payout up",
        lines=(
            SettlementLine("expense:rounding", "debit", 1, "USD"),
            SettlementLine("asset:bank:main", "credit", 1, "USD"),
        ),
    ),
)  # fmt: skip


class Booked(NamedTuple):
    """An example, and its event."""

    movement: Movement
    event: SettlementEvent


def booked() -> Iterator[Booked]:
    """Each example with its event, in order."""
    known: dict[str, list[SettlementEvent]] = {}
    for movement in EXAMPLES:
        before = known.setdefault(movement.settlement_id, [])
        event = event_of(movement, before)
        before.append(event)
        yield Booked(movement, event)


def template(event: SettlementEvent) -> str:
    """Its lines as a row of docs/ACCOUNTS.md: `| debits | credits |`, each account as its family."""
    sides: dict[str, list[str]] = {"debit": [], "credit": []}
    for line in event.lines:
        family = family_of(line.account)
        sides[line.side].append(f"`{family.pattern if family else line.account}`")
    return f"| {', '.join(dict.fromkeys(sides['debit']))} | {', '.join(dict.fromkeys(sides['credit']))} |"
