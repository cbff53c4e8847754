"""What an event still has to give back, and the lines that take back a part of it.

Guarantees: a part is shared in proportion to what every account still has of the event, by largest remainder, so no
chain of parts takes more from an account than it got, and the last one leaves nothing anywhere; more than what is left
is refused. Does not: know events that it was not given: two who take back at once can exceed (the check of reversals,
`ledger_core.reading.reversals`, names it).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ledger_core.books.accounts import AccountType, account_type
from ledger_core.books.chart import BadMovement
from ledger_core.books.lines import Side
from ledger_core.books.money import Money
from ledger_core.books.movements.lines import amount, leg
from ledger_core.books.settlements import SettlementEvent, SettlementLine
from ledger_core.books.splits import by_weights


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What is left of an event after its reversals."""

    money_account: str  # where the money came in, or left from
    currency: str  # of all its lines
    money_minor: int  # left of it, minor units; a debit positive, a credit negative
    others: dict[str, int]  # account -> minor units left, of either sign; they come to -money_minor


def found(before: Iterable[SettlementEvent], event_id: str, field: str) -> SettlementEvent:
    """The event of this id. Raises BadMovement, naming the field that has the id."""
    event = next((it for it in before if it.event_id == event_id), None)
    if event is None:
        raise BadMovement(field, f"event {event_id} is not among the settlement's events")
    return event


def left_of(event: SettlementEvent, before: Iterable[SettlementEvent], side: Side, field: str) -> LeftOver:
    """What is left. `side`: debit where the event's money came in (a sale), credit where it left (a payout).

    In a sale, whatever asset gives money back counts as the one that got it: a refund may leave by a bank, and a lost
    dispute is paid out of what the provider took before. Raises BadMovement.
    """
    codes = {line.currency for line in event.lines}
    accounts = {line.account for line in event.lines if line.side == side and _is_asset(line.account)}
    if len(codes) != 1 or len(accounts) != 1:
        raise BadMovement(field, f"event {event.event_id} has not one currency and one account of money: adjust it")
    (code,), (money_account,) = codes, accounts
    sums: dict[str, int] = {}
    for it in (event, *reversals_of(event, before)):
        for line in it.lines:
            account = money_account if side == "debit" and _is_asset(line.account) else line.account
            signed = line.amount_minor if line.side == "debit" else -line.amount_minor
            sums[account] = sums.get(account, 0) + signed
            if line.currency != code:
                raise BadMovement(field, f"event {it.event_id} took back in {line.currency}, not in {code}")
    return LeftOver(money_account, code, sums.pop(money_account), sums)


def reversals_of(event: SettlementEvent, before: Iterable[SettlementEvent]) -> list[SettlementEvent]:
    """What reverses the event, and what reverses those, to any depth; each event once."""
    by_target: dict[str, list[SettlementEvent]] = {}
    for it in {it.event_id: it for it in before}.values():
        if it.reverses is not None:
            by_target.setdefault(it.reverses, []).append(it)
    tree = [event]
    for it in tree:  # grows while it is read; popped, so a circle ends
        tree += by_target.pop(it.event_id, ())
    return tree[1:]


def taken_back(
    left: LeftOver, asked_minor: int | None, field: str, *, money_account: str | None = None
) -> tuple[SettlementLine, ...]:
    """The lines that take back `asked_minor` of what is left, or all of it; the money moves on `money_account`.

    Raises BadMovement.
    """
    there = abs(left.money_minor)
    wanted = there if asked_minor is None else amount(asked_minor, field)
    if not 0 < wanted <= there:
        raise BadMovement(field, f"wants to take back {_major(wanted, left)}, and {_major(there, left)} is left")
    sign = 1 if left.money_minor > 0 else -1
    # Some accounts are on the money's own side: what the house gave (a discount), or a seller who was charged more.
    same = {account: abs(minor) for account, minor in left.others.items() if minor * sign > 0}
    opposite = {account: abs(minor) for account, minor in left.others.items() if minor * sign < 0}
    beside = sum(same.values()) * wanted // there
    parts = _parts(beside, same) | {account: -part for account, part in _parts(wanted + beside, opposite).items()}
    lines = [leg(money_account or left.money_account, -sign * wanted, left.currency)]
    lines += [leg(account, -sign * parts.get(account, 0), left.currency) for account in left.others]
    return tuple(line for line in lines if line.amount_minor)


def _parts(total_minor: int, weights: dict[str, int]) -> dict[str, int]:
    return dict(zip(weights, by_weights(total_minor, list(weights.values())), strict=True)) if weights else {}


def _is_asset(account: str) -> bool:
    return account_type(account) is AccountType.ASSET


def _major(minor: int, left: LeftOver) -> str:
    return str(Money(minor, left.currency))


def balance_of(account: str, events: Sequence[SettlementEvent]) -> int:
    """What these events leave on an account, in minor units; a debit positive. Each event once."""
    return sum(
        line.amount_minor if line.side == "debit" else -line.amount_minor
        for it in {it.event_id: it for it in events}.values()
        for line in it.lines
        if line.account == account
    )
