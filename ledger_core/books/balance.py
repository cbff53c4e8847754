"""Debits equal credits (G1): the one check that every entry passes on construction. Pure."""

from __future__ import annotations

from ledger_core.books.lines import AMOUNT_MINOR_MAX, Line


def check_balanced(lines: tuple[Line, ...]) -> None:
    """Raise ValueError unless there are lines and, per currency, debits equal credits (G1)."""
    if not lines:
        raise ValueError("an entry needs lines")
    currency = lines[0].currency
    total = 0
    for line in lines:
        text = line.amount_minor
        amount = int(text)
        if not (0 < amount <= AMOUNT_MINOR_MAX) or str(amount) != text:
            raise ValueError(f"amount_minor {text!r} is not a positive decimal integer up to {AMOUNT_MINOR_MAX}")
        if line.currency != currency:
            _check_balanced_each_currency(lines)
            return
        if line.side == "debit":
            total += amount
        else:
            total -= amount
    if total:
        raise ValueError(f"unbalanced in {currency}: debits - credits = {total} minor units")


def _check_balanced_each_currency(lines: tuple[Line, ...]) -> None:
    totals: dict[str, int] = {}
    for line in lines:
        amount = int(line.amount_minor)
        if not (0 < amount <= AMOUNT_MINOR_MAX) or str(amount) != line.amount_minor:
            raise ValueError(f"amount_minor {line.amount_minor!r} is not a positive decimal integer")
        totals[line.currency] = totals.get(line.currency, 0) + (amount if line.side == "debit" else -amount)
    for currency, total in sorted(totals.items()):
        if total:
            raise ValueError(f"unbalanced in {currency}: debits - credits = {total} minor units")
