"""Any movement to the settlement event that books it: what the publisher library, the command line and tests call.

    event = event_of(SellerPayout(settlement_id="po_1", occurred_at=at, payee="seller-42",
                                  paid_from="asset:bank:main", amount_minor=9_710, currency="USD"))

Guarantees: the event balances in each currency, on accounts of the chart; the same movement gives the same event.
Raises BadMovement (a ValueError) that names the field. Does not: publish, or know what the ledger holds: `before` are
the events of the settlement that the caller knows, and a movement that takes something back needs what it takes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import assert_never

from ledger_core.books.chart import BadMovement
from ledger_core.books.entries import EntryFields
from ledger_core.books.movements import corrections, payouts, sales
from ledger_core.books.movements.forms import (
    Adjustment,
    Capture,
    Conversion,
    DisputeLost,
    DisputeOpened,
    DisputeWon,
    Movement,
    OpeningBalance,
    PayoutArrived,
    PayoutReturned,
    ProviderFee,
    ProviderPayout,
    Refund,
    RoyaltyPayout,
    SellerPayout,
    TaxRemittance,
)  # fmt: skip
from ledger_core.books.movements.lines import event_id_of_movement
from ledger_core.books.settlements import SettlementEvent, SettlementLine, SettlementProvider
from ledger_core.times import parse_time


def event_of(movement: Movement, before: Sequence[SettlementEvent] = ()) -> SettlementEvent:
    """The event that books a movement. `before`: the settlement's events so far, where it takes something back; when
    its own is among them, only those in front of it count, so asking again gives the same event.

    Raises BadMovement.
    """
    elsewhere = next((it for it in before if it.settlement_id != movement.settlement_id), None)
    if elsewhere is not None:  # another key may be another shard, which cannot take it back
        raise BadMovement("settlement_id", f"is {movement.settlement_id}, and {elsewhere.event_id} is of another one")
    own = event_id_of_movement(movement)
    before = list(takewhile(lambda it: it.event_id != own, before))
    match movement:
        case Refund():
            return sales.refunded(movement, before)
        case DisputeWon():
            return sales.dispute_won(movement, before)
        case DisputeLost():
            return sales.dispute_lost(movement, before)
        case PayoutReturned():
            return payouts.payout_returned(movement, before)
        case _:
            return _alone(movement)


def _alone(movement: Movement) -> SettlementEvent:
    """Movements that take nothing back."""
    match movement:
        case Capture():
            return sales.captured(movement)
        case DisputeOpened():
            return sales.dispute_opened(movement)
        case ProviderFee():
            return payouts.provider_fee(movement)
        case ProviderPayout():
            return payouts.provider_payout(movement)
        case PayoutArrived():
            return payouts.payout_arrived(movement)
        case SellerPayout():
            return payouts.seller_payout(movement)
        case RoyaltyPayout():
            return payouts.royalty_payout(movement)
        case TaxRemittance():
            return payouts.tax_remittance(movement)
        case Conversion():
            return corrections.converted(movement)
        case Adjustment():
            return corrections.adjusted(movement)
        case OpeningBalance():
            return corrections.opened(movement)
        case Refund() | DisputeWon() | DisputeLost() | PayoutReturned():
            raise BadMovement("movement", "takes something back")
        case _:
            assert_never(movement)


def event_of_entry(entry: EntryFields) -> SettlementEvent:
    """The event that an entry was made of, as one of `before`; personal data stay out."""
    return SettlementEvent(
        event_id=entry.event_id,
        event_type=entry.event_type,
        settlement_id=entry.settlement_id,
        order_id=entry.order_id,
        occurred_at=parse_time(entry.occurred_at),
        lines=tuple(
            SettlementLine(line.account, line.side, int(line.amount_minor), line.currency, line.memo)
            for line in entry.lines
        ),
        provider=None
        if entry.provider is None
        else SettlementProvider(
            entry.provider.name, entry.provider.reference, int(entry.provider.amount_minor), entry.provider.currency
        ),
        reverses=entry.reverses,
        metadata=entry.metadata,
    )
