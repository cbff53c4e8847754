"""Money on its way: fees and payouts of providers, and what leaves for others. Raises BadMovement, naming the field.

A provider's payout is booked twice: when the provider says that it sent it, into the clearing account, and when the
bank says that it is there, out of it. What stands on the clearing account is on its way, or lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger_core.books.chart import (
    BANK,
    CLEARING,
    DISPUTE_FEES,
    PAYABLE,
    PROVIDER_FEES,
    PSP,
    ROYALTIES,
    TAX,
    BadMovement,
    charted,
)
from ledger_core.books.movements.forms import (
    PayoutArrived,
    PayoutReturned,
    ProviderFee,
    ProviderPayout,
    RoyaltyPayout,
    SellerPayout,
    TaxRemittance,
)
from ledger_core.books.movements.lines import amount, currency, event, moved
from ledger_core.books.movements.reversals import found, left_of, taken_back
from ledger_core.books.settlements import SettlementEvent, SettlementProvider

PROVIDER_FEE, PROVIDER_PAYOUT, PAYOUT_ARRIVED = (
    "provider.fee_charged",
    "provider.payout_sent",
    "provider.payout_arrived",
)
SELLER_PAYOUT, PAYOUT_RETURNED, ROYALTY_PAYOUT, TAX_REMITTANCE = (
    "payout.sent", "payout.returned", "royalty.sent", "tax.remitted",
)  # fmt: skip
RETURNABLE = (SELLER_PAYOUT, ROYALTY_PAYOUT, TAX_REMITTANCE, PROVIDER_PAYOUT)


def provider_fee(form: ProviderFee) -> SettlementEvent:
    """Debit the expense, credit the provider."""
    family = DISPUTE_FEES if form.is_for_dispute else PROVIDER_FEES
    to, from_ = family.of(form.provider, "provider"), PSP.of(form.provider, "provider")
    lines = moved(to, from_, amount(form.amount_minor, "amount_minor"), currency(form.currency))
    return event(form, PROVIDER_FEE, lines)


def provider_payout(form: ProviderPayout) -> SettlementEvent:
    """Debit the clearing account, credit the provider."""
    total, code = amount(form.amount_minor, "amount_minor"), currency(form.currency)
    lines = moved(CLEARING.of(form.provider, "provider"), PSP.of(form.provider, "provider"), total, code)
    return event(form, PROVIDER_PAYOUT, lines, provider=SettlementProvider(form.provider, form.reference, total, code))


def payout_arrived(form: PayoutArrived) -> SettlementEvent:
    """Debit the bank, credit the clearing account."""
    to, from_ = BANK.of(form.bank, "bank"), CLEARING.of(form.provider, "provider")
    lines = moved(to, from_, amount(form.amount_minor, "amount_minor"), currency(form.currency))
    return event(form, PAYOUT_ARRIVED, lines)


def seller_payout(form: SellerPayout) -> SettlementEvent:
    """Debit what the seller is owed, credit where it was paid from."""
    return _sent(form, SELLER_PAYOUT, PAYABLE.of(form.payee, "payee"))


def royalty_payout(form: RoyaltyPayout) -> SettlementEvent:
    """Debit what the holder of rights is owed, credit where it was paid from."""
    return _sent(form, ROYALTY_PAYOUT, ROYALTIES.of(form.holder, "holder"))


def tax_remittance(form: TaxRemittance) -> SettlementEvent:
    """Debit what was collected for the authority, credit where it was paid from."""
    return _sent(form, TAX_REMITTANCE, TAX.of(form.jurisdiction, "jurisdiction"))


def payout_returned(form: PayoutReturned, before: Sequence[SettlementEvent]) -> SettlementEvent:
    """Debit where it was paid from, credit whom it was for. Raises BadMovement."""
    sent = found(before, form.reverses, "reverses")
    if sent.event_type not in RETURNABLE:
        raise BadMovement("reverses", f"event {sent.event_id} is of type {sent.event_type}, not of a payout")
    lines = taken_back(left_of(sent, before, "credit", "reverses"), form.amount_minor, "amount_minor")
    return event(form, PAYOUT_RETURNED, lines, provider=sent.provider, reverses=sent.event_id)


def _sent(form: SellerPayout | RoyaltyPayout | TaxRemittance, kind: str, to: str) -> SettlementEvent:
    from_ = charted(form.paid_from, "paid_from", BANK, PSP)
    lines = moved(to, from_, amount(form.amount_minor, "amount_minor"), currency(form.currency))
    return event(form, kind, lines)
