"""Balances as of a day and as known at a moment, from the read side: what `finance balances --as-of` shows."""

from __future__ import annotations

import datetime as dt

from finance.cli.reading.shown import Column, Shown, asked
from ledger_core.books.accounts import AccountType, normal_side
from ledger_core.postgres.reading import questions
from ledger_core.postgres.reading.projection_balances import END_OF_DAYS, Sides, trial_sides
from ledger_core.reading.tokens import position_token

SIDES = (Column("currency"), Column("debits", "amount"), Column("credits", "amount"))


def balances_then(
    prefix: str, currency: str, day: dt.date | None, known_at: str | int | None, cursor: str, limit: int
) -> Shown:
    """Accounts that begin with a prefix. Raises Unavailable and Refused."""
    with asked() as it:
        position = it.position(known_at)
        page = questions.balances(
            it, position, day or END_OF_DAYS, prefix=prefix, currency=currency, cursor=cursor, limit=limit
        )
        known_us = it.reach.known_until_us
    rows = [(found.name, found.currency, found.debits, found.credits, _balance(found)) for found in page.balances]
    columns = (Column("account"), *SIDES, Column("balance", "amount"))
    return Shown("balances", columns, rows, position_token(position), known_us, page.next, more=_as_of(day))


def trial_then(day: dt.date | None, known_at: str | int | None) -> Shown:
    """The trial balance. Raises Unavailable and Refused."""
    with asked() as it:
        position = it.position(known_at)
        found = trial_sides(it.connection, position, day or END_OF_DAYS)
        known_us = it.reach.known_until_us
    off: dict[str, int] = {}
    for sides in found:
        off[sides.currency] = off.get(sides.currency, 0) + sides.debits - sides.credits
    off = {currency: difference for currency, difference in off.items() if difference}
    rows = [(sides.name, sides.currency, sides.debits, sides.credits) for sides in found]
    more = {**_as_of(day), "off_minor": {currency: str(difference) for currency, difference in off.items()}}
    token = position_token(position)
    told = Shown("trial_balance", (Column("type"), *SIDES), rows, token, known_us, more=more, ok=not off)
    told.notes += [f"OFF: {code} debits - credits = {told.major(amount, code)}" for code, amount in off.items()]
    if not off:
        told.notes.append("debits equal credits in every currency")
    return told


def _as_of(day: dt.date | None) -> dict[str, object]:
    return {"as_of": None if day is None else str(day)}


def _balance(sides: Sides) -> int:
    difference = sides.debits - sides.credits
    return difference if normal_side(AccountType(sides.name.partition(":")[0])) == "debit" else -difference
