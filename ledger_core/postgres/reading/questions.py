"""The questions of the read side: one library for commands, reconciliation, the API and the console.

entries     by event, settlement, order or reference, with their lines, and what became of other attempts
statement   the lines of an account in the order in which they were known, with a running balance
balances    of accounts as of a day and a position; payables by age; amounts by month

Guarantees: each answer is of the caller's snapshot (`asking`), and of a position that it names: asked again by that
position it is the same, whatever comes later. A page goes on behind a key, and costs what it shows.
Does not: write; decide who may ask; show what the projection leaves out (decision 123).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from ledger_core.postgres.reading.asking import Asked
from ledger_core.postgres.reading.projection_balances import LINE_NO_MAX, Sides, account_sides
from ledger_core.postgres.reading.projection_entries import (
    By,
    FoundEntry,
    FoundLeg,
    StatementLine,
    behind_page,
    entries_by,
    legs_of,
    statement,
)
from ledger_core.reading.ageing import Open, open_by_age
from ledger_core.reading.tokens import Key, page_key, page_token

PAYABLES: Final = "liability:payable:"
ACCOUNTS_READ: Final = 200  # at once
WITHOUT_MAX: Final = 5_000  # accounts in turn that have no row, until a page ends short of its limit
_EPOCH_DAY: Final = dt.date(1970, 1, 1)

ACCOUNTS: Final = """
SELECT DISTINCT account COLLATE "C", currency FROM series
 WHERE account COLLATE "C" >= greatest(%(prefix)s COLLATE "C", %(account)s COLLATE "C")
   AND account COLLATE "C" < %(prefix)s || '~'
   AND (account COLLATE "C" > %(account)s OR currency > %(code)s) AND (%(currency)s = '' OR currency = %(currency)s)
 ORDER BY 1, 2 LIMIT %(limit)s"""

R = TypeVar("R")
Position = Mapping[int, int]
"""Of each shard, the newest sequence that the question is about."""


class EntryAnswer(NamedTuple):
    """An entry with its lines."""

    entry: FoundEntry  # without its lines
    legs: list[FoundLeg]  # its lines, in their order


class EntriesPage(NamedTuple):
    """Entries of one name, in the order of the chains."""

    entries: list[EntryAnswer]  # in order of (shard, sequence)
    next: str | None  # cursor of the next page; None behind the last


class StatementPage(NamedTuple):
    """Lines of an account in the order in which they were known."""

    opening_minor: int  # balance before the first line; minor units, debits less credits
    lines: list[StatementLine]  # in order
    next: str | None  # cursor of the next page; None behind the last


class BalancesPage(NamedTuple):
    """Accounts in the order of their names."""

    balances: list[Sides]  # of each account and currency
    next: str | None  # cursor of the next page; None behind the last


class Payable(NamedTuple):
    """What a payee is owed in one currency."""

    account: str  # path
    currency: str  # three capital letters, ISO 4217
    balance_minor: int  # minor units; negative: the payee owes
    parts: list[Open]  # of a positive balance, youngest first


class PayablesPage(NamedTuple):
    """Payees in the order of their accounts, without those whose account is even."""

    payables: list[Payable]  # of each payee and currency
    next: str | None  # cursor of the next page; None behind the last


class MonthAmount(NamedTuple):
    """What an account came to within a month of the business time."""

    month: str  # 2025-11
    account: str  # path
    currency: str  # three capital letters, ISO 4217
    debits: int  # minor units
    credits: int  # minor units


def entries(asked: Asked, by: By, name: str, position: Position, *, cursor: str = "", limit: int) -> EntriesPage:
    """Entries that are called so. Raises Refused for a cursor of another question."""
    question = {"by": by.value, "name": name, "at": _spelled(position)}
    shard, seq = _ints(page_key(question, cursor)) if cursor else (-1, 0)
    found = entries_by(asked.connection, by, name, position, after=(shard, seq), limit=limit + 1)
    legs = legs_of(asked.connection, [(it.shard, it.seq) for it in found[:limit]])
    answers = [EntryAnswer(it, legs.get((it.shard, it.seq), [])) for it in found[:limit]]
    last = found[limit - 1] if len(found) > limit else None
    return EntriesPage(answers, None if last is None else page_token(question, (last.shard, last.seq)))


def account_statement(
    asked: Asked, account: str, currency: str, begin: Position, end: Position, *, cursor: str = "", limit: int
) -> StatementPage:
    """The lines of an account known behind `begin`, up to and with `end`. Raises Refused for a cursor of another
    question."""
    question = {"account": account, "currency": currency, "from": _spelled(begin), "to": _spelled(end)}
    behind = {shard: (seq, LINE_NO_MAX) for shard, seq in begin.items()}
    if cursor:
        key = _ints(page_key(question, cursor))
        behind |= {shard: (seq, line) for shard, seq, line in zip(key[::3], key[1::3], key[2::3], strict=True)}
    opening, lines = statement(asked.connection, account, currency, end, behind=behind, limit=limit + 1)
    shown = lines[:limit]
    if len(lines) <= limit:
        return StatementPage(opening, shown, None)
    place = [part for shard, it in sorted(behind_page(behind, shown).items()) for part in (shard, *it)]
    return StatementPage(opening, shown, page_token(question, place))


def currencies_of(asked: Asked, account: str) -> list[str]:
    """The currencies in which an account has lines."""
    rows = asked.connection.execute(
        'SELECT DISTINCT currency FROM series WHERE account = %s COLLATE "C" ORDER BY 1', (account,)
    )
    return [str(code) for (code,) in rows]


def balances(
    asked: Asked,
    position: Position,
    day: dt.date,
    *,
    prefix: str = "",
    currency: str = "",
    cursor: str = "",
    limit: int,
    without_max: int = WITHOUT_MAX,
) -> BalancesPage:
    """Accounts that begin with `prefix`, at a position, as of an effective day, inclusive: those that have a line
    there. A page is full unless it is the last, or so many accounts in turn have none. Raises Refused for a cursor of
    another question."""
    question = {"prefix": prefix, "currency": currency, "day": str(day), "at": _spelled(position)}

    def found(account: str, code: str) -> Sides | None:
        return next(iter(account_sides(asked.connection, account, position, day, code)), None)

    return BalancesPage(*_filled(asked, question, prefix, currency, cursor, limit, without_max, found))


def payables(
    asked: Asked,
    position: Position,
    day: dt.date,
    *,
    currency: str = "",
    cursor: str = "",
    limit: int,
    without_max: int = WITHOUT_MAX,
) -> PayablesPage:
    """What payees are owed at a position, as of an effective day, by age: those whose account is not even. A page is
    full unless it is the last, or so many accounts in turn are even. Raises Refused for a cursor of another
    question."""
    question = {"payables": PAYABLES, "currency": currency, "day": str(day), "at": _spelled(position)}

    def found(account: str, code: str) -> Payable | None:
        (now,) = account_sides(asked.connection, account, position, day, code) or [Sides(account, code, 0, 0)]
        if now.credits == now.debits:
            return None
        parts: list[Open] = []
        if now.credits > now.debits:

            def owed_by(number: int) -> int:
                upto = _EPOCH_DAY + dt.timedelta(days=number)
                return sum(it.credits for it in account_sides(asked.connection, account, position, upto, code))

            parts = open_by_age(owed_by, now.debits, (day - _EPOCH_DAY).days)
        return Payable(account, code, now.credits - now.debits, parts)

    return PayablesPage(*_filled(asked, question, PAYABLES, currency, cursor, limit, without_max, found))


def by_month(
    asked: Asked, accounts: Sequence[str], position: Position, first: dt.date, months: int
) -> list[MonthAmount]:
    """What accounts came to in each of some months of the business time, from that of `first` on; months without a
    line are left out."""
    starts = [_month_start(first, number) for number in range(months + 1)]
    found = []
    for account in accounts:
        ends = [
            {it.currency: it for it in account_sides(asked.connection, account, position, start - dt.timedelta(days=1))}
            for start in starts
        ]
        for start, before, after in zip(starts, ends, ends[1:], strict=False):
            for code, now in after.items():
                then = before.get(code, Sides(account, code, 0, 0))
                if (now.debits, now.credits) != (then.debits, then.credits):
                    sides = (now.debits - then.debits, now.credits - then.credits)
                    found.append(MonthAmount(f"{start:%Y-%m}", account, code, *sides))
    return sorted(found)


def accounts_like(asked: Asked, prefix: str, limit: int) -> list[str]:
    """The names of accounts that begin so, at most `limit` of them."""
    rows = asked.connection.execute(ACCOUNTS, {**_BEGIN, "prefix": prefix, "currency": "", "limit": limit})
    return list(dict.fromkeys(str(account) for account, _ in rows))


_BEGIN: Final[Mapping[str, object]] = {"account": "", "code": ""}


def _filled(
    asked: Asked,
    question: Mapping[str, str],
    prefix: str,
    currency: str,
    cursor: str,
    limit: int,
    without_max: int,
    row_of: Callable[[str, str], R | None],
) -> tuple[list[R], str | None]:
    """The next rows of accounts that have one, and the cursor of those behind them. A page is full unless it is the
    last, or `without_max` accounts in turn had no row: then it has a cursor all the same."""
    found: list[R] = []
    place: Key = page_key(question, cursor) if cursor else ("", "")
    without = 0
    for key in _accounts(asked, prefix, currency, place):
        row = row_of(*key)
        if row is None:
            without += 1
            if without == without_max:
                return found, page_token(question, key)
        elif len(found) == limit:
            return found, page_token(question, place)
        else:
            found.append(row)
            place, without = key, 0
    return found, None


def _accounts(asked: Asked, prefix: str, currency: str, behind: Key) -> Iterator[tuple[str, str]]:
    """Accounts and currencies behind a place, in order, a page of the database at a time."""
    account, code = (str(part) for part in behind)
    while True:
        values = {"prefix": prefix, "currency": currency, "account": account, "code": code, "limit": ACCOUNTS_READ}
        page = [(str(name), str(its)) for name, its in asked.connection.execute(ACCOUNTS, values).fetchall()]
        yield from page
        if len(page) < ACCOUNTS_READ:
            return
        account, code = page[-1]


def _month_start(first: dt.date, number: int) -> dt.date:
    year, month = divmod(first.year * 12 + first.month - 1 + number, 12)
    return dt.date(year, month + 1, 1)


def _spelled(position: Position) -> str:
    return ",".join(f"{shard}:{seq}" for shard, seq in sorted(position.items()))


def _ints(key: Key) -> list[int]:
    return [int(part) for part in key]
