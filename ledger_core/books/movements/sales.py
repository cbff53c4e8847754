"""A sale's own movements: captured and refunded; a dispute opened, won, lost. Raises BadMovement, naming the field.

A dispute moves the money from what the provider keeps to what is in dispute, and touches nobody's share. Won, it moves
back. Lost, the sale is taken back by as much, as a refund would, out of what is in dispute; or the house bears it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger_core.books.chart import (
    DISPUTE,
    DISPUTES_LOST,
    FEES,
    PAYABLE,
    PSP,
    ROYALTIES,
    SHIPPING,
    TAX,
    BadMovement,
    charted,
)
from ledger_core.books.movements.forms import Capture, DisputeLost, DisputeOpened, DisputeWon, Refund
from ledger_core.books.movements.lines import amount, currency, event, leg, moved
from ledger_core.books.movements.reversals import balance_of, found, left_of, taken_back
from ledger_core.books.sales import CAPTURED, REFUNDED
from ledger_core.books.settlements import SettlementEvent, SettlementProvider
from ledger_core.books.splits import BASIS_POINTS, by_basis_points

OPENING_KEY = "dispute_opening"  # metadata of a lost dispute, which reverses the sale: event id of what opened it
DISPUTE_OPENED, DISPUTE_WON, DISPUTE_LOST = "dispute.opened", "dispute.won", "dispute.lost"


def captured(form: Capture) -> SettlementEvent:
    """Debit the provider, credit everybody who is owed a share. Raises BadMovement."""
    total, code = amount(form.amount_minor, "amount_minor"), currency(form.currency)
    accounts = [
        charted(share.account, f"shares[{number}].account", PAYABLE, ROYALTIES, TAX, FEES, SHIPPING)
        for number, share in enumerate(form.shares, 1)
    ]
    points = [share.basis_points for share in form.shares]
    for number, point in enumerate(points, 1):
        if not 0 < point <= BASIS_POINTS:
            raise BadMovement(f"shares[{number}].basis_points", f"wants 1 to {BASIS_POINTS}, not {point}")
    if sum(points) != BASIS_POINTS:
        raise BadMovement("shares", f"basis points come to {sum(points)}, not to {BASIS_POINTS}")
    if len(set(accounts)) != len(accounts):
        raise BadMovement("shares", "an account stands there twice")
    lines = [leg(PSP.of(form.provider, "provider"), total, code)]
    lines += [leg(account, -part, code) for account, part in zip(accounts, by_basis_points(total, points), strict=True)]
    asked = SettlementProvider(form.provider, form.reference, total, code)
    return event(form, CAPTURED, lines, provider=asked)


def refunded(form: Refund, before: Sequence[SettlementEvent]) -> SettlementEvent:
    """Take back a part of what was captured, or all that is left of it, from everybody in proportion."""
    sale = found(before, form.reverses, "reverses")
    left = left_of(sale, before, "debit", "reverses")
    lines = taken_back(left, form.amount_minor, "amount_minor")
    back = lines[0].amount_minor
    asked = sale.provider
    if asked is not None:
        asked = SettlementProvider(asked.name, asked.reference, back, left.currency)
    return event(form, REFUNDED, lines, provider=asked, reverses=sale.event_id)


def dispute_opened(form: DisputeOpened) -> SettlementEvent:
    """Debit what is in dispute, credit the provider."""
    total, code = amount(form.amount_minor, "amount_minor"), currency(form.currency)
    lines = moved(DISPUTE.of(form.provider, "provider"), PSP.of(form.provider, "provider"), total, code)
    asked = SettlementProvider(form.provider, form.dispute, total, code)
    return event(form, DISPUTE_OPENED, lines, provider=asked)


def dispute_won(form: DisputeWon, before: Sequence[SettlementEvent]) -> SettlementEvent:
    """Debit the provider, credit what is in dispute."""
    opening, disputed, there, code = _in_dispute(form.reverses, "reverses", before)
    back = _wanted(form.amount_minor, there)
    lines = moved(PSP.of(disputed.removeprefix(DISPUTE.path), "reverses"), disputed, back, code)
    return event(form, DISPUTE_WON, lines, provider=opening.provider, reverses=opening.event_id)


def dispute_lost(form: DisputeLost, before: Sequence[SettlementEvent]) -> SettlementEvent:
    """Credit what is in dispute; debit everybody who got a share of the sale, or our own expense.

    Raises BadMovement.
    """
    opening, disputed, there, code = _in_dispute(form.opening, "opening", before)
    gone = _wanted(form.amount_minor, there)
    more = {OPENING_KEY: opening.event_id}
    if form.captured is None:
        lines = moved(DISPUTES_LOST.path, disputed, gone, code)
        return event(form, DISPUTE_LOST, lines, provider=opening.provider, metadata=more)
    sale = found(before, form.captured, "captured")
    left = left_of(sale, before, "debit", "captured")
    if left.currency != code:
        raise BadMovement("captured", f"event {sale.event_id} is in {left.currency}, the dispute in {code}")
    taken = taken_back(left, gone, "amount_minor", money_account=disputed)
    return event(form, DISPUTE_LOST, taken, provider=opening.provider, reverses=sale.event_id, metadata=more)


def _in_dispute(
    opening_id: str, field: str, before: Sequence[SettlementEvent]
) -> tuple[SettlementEvent, str, int, str]:
    """The opening, its account, what is left there, and the currency. Another dispute of the settlement may stand on
    the same account, and events without metadata (from the read side) do not name the one that they closed: the
    lower counts.
    """
    opening = found(before, opening_id, field)
    disputed = next((line.account for line in opening.lines if DISPUTE.has(line.account)), None)
    if opening.event_type != DISPUTE_OPENED or disputed is None:
        raise BadMovement(field, f"event {opening_id} did not open a dispute")
    left = left_of(opening, before, "credit", field)
    lost = [it for it in before if it.metadata.get(OPENING_KEY) == opening_id]
    there = min(abs(left.money_minor) + balance_of(disputed, lost), balance_of(disputed, before))
    return opening, disputed, max(0, there), left.currency


def _wanted(asked_minor: int | None, there_minor: int) -> int:
    wanted = there_minor if asked_minor is None else amount(asked_minor, "amount_minor")
    if not 0 < wanted <= there_minor:
        raise BadMovement("amount_minor", f"wants {wanted} minor units, and {there_minor} are left in dispute")
    return wanted
