"""Whether the reversals of a settlement stay within what they reverse: the check that names an over-refund. Pure.

Guarantees: an entry and all that takes it back, to any depth, are compared account by account; a reversal that was
itself reversed no longer counts, so the correction of a fault ends its finding. Findings, named for ever:

    reversal.exceeds    more was taken back than the entry moved: money that never came was refunded
    reversal.adds       what says that it takes back moved the same way again
    reversal.elsewhere  it takes back an entry that is not among those given, such as another settlement's
    reversal.dispute    more left a dispute than was taken into it

What a seller is owed may go below zero (a fee that the seller bears stands outside of the sale), so payables are not
compared; the money is. Does not: judge events (decision 145 says why), or read anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ledger_core.books.accounts import AccountType, account_type
from ledger_core.books.chart import DISPUTE, PAYABLE
from ledger_core.books.money import Money
from ledger_core.findings import Collector, Report

MONEY: Final = "asset:*"  # a sale's money may leave by another account than it came in by: all of them together


class ReversalEntry(NamedTuple):
    """An entry, as far as it is compared."""

    shard: int  # number of the shard, from 0
    seq: int  # in the shard's chain
    event_id: str  # UUID of its event
    reverses: str | None  # event id of the entry that it takes back
    lines: Sequence[tuple[str, str, int]]  # account, currency, minor units: a debit positive, a credit negative


def check_reversals(entries: Iterable[ReversalEntry], place: str) -> Report:
    """What is wrong with the reversals among the entries of one settlement; `place` names it."""
    known = {entry.event_id: entry for entry in entries}
    found = Collector(place=place)
    found.count("entries", len(known))
    children: dict[str, list[ReversalEntry]] = {}
    for entry in known.values():
        if entry.reverses is None:
            continue
        found.count("reversals")
        if entry.reverses not in known or entry.reverses == entry.event_id:
            message = f"event {entry.event_id} takes back event {entry.reverses}, which is not an entry of {place}"
            found.add("reversal.elsewhere", message, shard=entry.shard, seq=entry.seq, field="reverses")
        else:
            children.setdefault(entry.reverses, []).append(entry)
    for event_id, direct in children.items():
        _compare(known[event_id], _tree(direct, children), found)
    _disputes(known, found)
    return found.report()


def _tree(direct: Sequence[ReversalEntry], children: Mapping[str, Sequence[ReversalEntry]]) -> list[ReversalEntry]:
    """These and what takes them back, each once; a circle cannot be posted, and ends here all the same."""
    tree = {entry.event_id: entry for entry in direct}
    waiting = list(direct)
    while waiting:
        for entry in children.get(waiting.pop().event_id, ()):
            if entry.event_id not in tree:
                tree[entry.event_id] = entry
                waiting.append(entry)
    return list(tree.values())


def _compare(entry: ReversalEntry, reversals: Sequence[ReversalEntry], found: Collector) -> None:
    """The entry's sums with those of all that takes it back."""
    together = any(_sums([entry], together=True).get((MONEY, line[1])) for line in entry.lines)
    moved = _sums([entry], together=together)
    back = _sums(reversals, together=together)
    money = [key for key in back if key[0] == MONEY and key not in moved]  # of another currency than the entry's
    for account, currency in [*moved, *money]:
        amount, taken = moved.get((account, currency), 0), back.get((account, currency), 0)
        if not taken or not (amount or account == MONEY) or account.startswith(PAYABLE.path):
            continue
        words = f"event {entry.event_id} moved {Money(abs(amount), currency)} on {account}"
        if amount and (taken > 0) == (amount > 0):
            message = f"{words}, and what takes it back moved {Money(abs(taken), currency)} the same way"
            found.add("reversal.adds", message, shard=entry.shard, seq=entry.seq, field="lines")
        elif abs(taken) > abs(amount):
            message = f"{words}, and {Money(abs(taken), currency)} of it was taken back"
            found.add("reversal.exceeds", message, shard=entry.shard, seq=entry.seq, field="lines")


def _sums(entries: Sequence[ReversalEntry], *, together: bool) -> dict[tuple[str, str], int]:
    """Sums by account and currency; with `together`, the accounts of money are one."""
    sums: dict[tuple[str, str], int] = {}
    for entry in entries:
        for account, currency, amount in entry.lines:
            is_money = together and account_type(account) is AccountType.ASSET
            key = (MONEY if is_money else account, currency)
            sums[key] = sums.get(key, 0) + amount
    return sums


def _disputes(known: Mapping[str, ReversalEntry], found: Collector) -> None:
    for (account, currency), amount in _sums(list(known.values()), together=False).items():
        if DISPUTE.has(account) and amount < 0:
            newest = max(known.values(), key=lambda it: (it.seq, it.shard))
            message = f"{account}: {Money(-amount, currency)} more left the disputes than was taken into them"
            found.add("reversal.dispute", message, shard=newest.shard, seq=newest.seq, field="lines")
