"""What can be asked for: one struct for each kind of movement, which is also one line of JSON (`"movement": kind`).

Amounts are positive integers of minor units. The event's type is the kind. Unless `event_id` is given, it is made of
settlement_id, kind, part and occurred_at: the same movement gets the same id, so asking twice books once; `part` makes
it another one for a second movement of the kind, settlement and millisecond.
Does not: check more than the types; `ledger_core.books.movements.booking` does.
"""

from __future__ import annotations

import datetime as dt
from typing import TypeAlias

import msgspec

from ledger_core.books.settlements import SettlementLine


class MovementForm(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="movement"
):
    """What every movement says."""

    settlement_id: str  # of the sale, or of the payout, remittance, ...; the key of the record
    occurred_at: dt.datetime  # business time; UTC
    order_id: str = ""  # of the sale; settlement_id where there is no order
    part: str = ""  # another text for a second movement of one kind, settlement and millisecond
    event_id: str | None = None  # UUID of whoever asked, such as a payout request; made here when left out
    metadata: dict[str, str] = {}  # the publisher's own pairs, kept as they came


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a sale that somebody is owed."""

    account: str  # who: payable, royalties, tax, fees or shipping
    basis_points: int  # of what was captured: 290 are 2.90 %; all of them come to 10,000


class Capture(MovementForm, frozen=True, tag="settlement.captured"):
    """A buyer paid. It is shared by percentages; what is known to the unit goes through `books.sales`."""

    provider: str  # who has the money
    reference: str  # the provider's own id of the payment
    amount_minor: int  # what the buyer paid
    currency: str  # three capital letters, ISO 4217
    shares: tuple[Share, ...]  # who is owed what


class Refund(MovementForm, frozen=True, tag="settlement.refunded"):
    """Money goes back to the buyer, from everybody who got a part of it."""

    reverses: str  # event id of what was captured
    amount_minor: int | None = None  # all that is left when left out


class DisputeOpened(MovementForm, frozen=True, tag="dispute.opened"):
    """A provider took the money of a sale back, until the dispute is decided."""

    dispute: str  # the provider's id of the dispute
    provider: str  # who took it
    amount_minor: int  # in dispute
    currency: str  # three capital letters, ISO 4217


class DisputeWon(MovementForm, frozen=True, tag="dispute.won"):
    """The provider gave the money back."""

    reverses: str  # event id of the dispute's opening
    amount_minor: int | None = None  # all that is left in dispute when left out


class DisputeLost(MovementForm, frozen=True, tag="dispute.lost"):
    """The buyer keeps the money: the sale is taken back by as much, or we bear it."""

    opening: str  # event id of the dispute's opening
    captured: str | None = None  # event id of the sale, whose payees bear it; left out: we do
    amount_minor: int | None = None  # all that is left in dispute when left out


class ProviderFee(MovementForm, frozen=True, tag="provider.fee_charged"):
    """A provider took a fee of its own."""

    provider: str  # who took it, of what it keeps for us
    amount_minor: int  # the fee
    currency: str  # three capital letters, ISO 4217
    is_for_dispute: bool = False  # booked apart from other fees


class ProviderPayout(MovementForm, frozen=True, tag="provider.payout_sent"):
    """A provider says that it paid us: from here on the money is on its way."""

    provider: str  # who sends it
    reference: str  # the provider's own id of the payout
    amount_minor: int  # sent
    currency: str  # three capital letters, ISO 4217


class PayoutArrived(MovementForm, frozen=True, tag="provider.payout_arrived"):
    """The bank says that a provider's payout is there."""

    provider: str  # who sent it
    bank: str  # where it arrived
    amount_minor: int  # on the statement
    currency: str  # three capital letters, ISO 4217


class SellerPayout(MovementForm, frozen=True, tag="payout.sent"):
    """Money left for a seller."""

    payee: str  # the seller
    paid_from: str  # account of a bank or a provider
    amount_minor: int  # sent
    currency: str  # three capital letters, ISO 4217


class PayoutReturned(MovementForm, frozen=True, tag="payout.returned"):
    """What was sent came back: a payout to a seller or holder of rights, a remittance, a provider's payout."""

    reverses: str  # event id of what was sent
    amount_minor: int | None = None  # all that is left when left out


class RoyaltyPayout(MovementForm, frozen=True, tag="royalty.sent"):
    """Money left for a holder of rights."""

    holder: str  # of the rights
    paid_from: str  # account of a bank or a provider
    amount_minor: int  # sent
    currency: str  # three capital letters, ISO 4217


class TaxRemittance(MovementForm, frozen=True, tag="tax.remitted"):
    """Money left for a tax authority."""

    jurisdiction: str  # of the authority
    paid_from: str  # account of a bank or a provider
    amount_minor: int  # sent
    currency: str  # three capital letters, ISO 4217


class Conversion(MovementForm, frozen=True, tag="currency.converted"):
    """One currency was changed into another, through the clearing account of the pair."""

    sold_from: str  # account that was credited in the currency sold
    sold_minor: int  # in minor units of sold_currency
    sold_currency: str  # three capital letters, ISO 4217
    bought_into: str  # account that was debited in the currency bought
    bought_minor: int  # in minor units of bought_currency
    bought_currency: str  # three capital letters, ISO 4217
    carried_minor: int | None = None  # what was expected, in bought_currency: the difference to it is realised


class Adjustment(MovementForm, frozen=True, tag="ledger.adjusted"):
    """Lines that a person wrote, with a reason."""

    reason: str  # why; kept as metadata
    lines: tuple[SettlementLine, ...]  # balanced, on accounts of the chart
    reverses: str | None = None  # event id of what it corrects, of the same settlement


class OpeningLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stood on an account."""

    account: str  # of the chart
    amount_minor: int  # positive where it stood on the account's own side; not 0
    currency: str  # three capital letters, ISO 4217


class OpeningBalance(MovementForm, frozen=True, tag="ledger.opened"):
    """What stood on accounts before the first event."""

    balances: tuple[OpeningLine, ...]  # each account and currency once


Movement: TypeAlias = (
    Capture | Refund | DisputeOpened | DisputeWon | DisputeLost | ProviderFee | ProviderPayout | PayoutArrived
    | SellerPayout | PayoutReturned | RoyaltyPayout | TaxRemittance | Conversion | Adjustment | OpeningBalance
)  # fmt: skip
