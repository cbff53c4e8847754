"""`finance account statement`: the lines of an account with a running balance."""

from __future__ import annotations

from pathlib import Path

import click

from finance.cli.reading.shown import (
    Column,
    KnownAt,
    Shown,
    asked,
    cursor_option,
    known_at_option,
    limit_option,
    output_options,
    show,
)
from ledger_core.books.accounts import is_account
from ledger_core.errors import Refused
from ledger_core.postgres.reading import questions
from ledger_core.postgres.reading.asking import Asked
from ledger_core.postgres.reading.projection_balances import known_until
from ledger_core.reading.tokens import position_token
from ledger_core.times import format_time

COLUMNS = (
    Column("known_at", "time"), Column("occurred_at", "time"), Column("event_type"), Column("settlement_id"),
    Column("order_id", in_tables=False), Column("debit", "amount"), Column("credit", "amount"),
    Column("balance", "amount"), Column("currency", in_tables=False), Column("shard", "number"), Column("seq", "count"),
    Column("line_no", "number", in_tables=False), Column("event_id", in_tables=False),
)  # fmt: skip


@click.group()
def command() -> None:
    """Statements of accounts.

    \b
    Example:
      finance account statement liability:payable:seller-42 --from 2025-11-01 --to 2025-11-30
    """


@command.command()
@click.argument("account")
@click.option("--currency", default="", metavar="CODE", help="In this currency; needed when there are several.")
@click.option("--from", "begin", type=KnownAt(begins=True), help="First day or time at which lines became known.")
@click.option("--to", "end", type=KnownAt(), help="Last day or time at which lines became known.")
@known_at_option
@cursor_option
@limit_option(100)
@output_options
def statement(
    account: str,
    currency: str,
    begin: str | int | None,
    end: str | int | None,
    known_at: str | int | None,
    cursor: str,
    limit: int,
    form: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """The lines of an account in the order in which the ledger knew them, with the balance behind each.

    A balance is debits less credits. --from and --to are about when a line became known (a day is included, UTC): so a
    statement of the past never changes. --as-known-at answers as of an earlier moment. Reads DATABASE_URL_READING.

    \b
    Examples:
      finance account statement liability:payable:seller-42 --from 2025-11-01 --to 2025-11-30
      finance account statement asset:psp:stripe --currency USD --as-known-at 2025-11-30 --limit 20
      finance account statement revenue:fees --format csv --out fees.csv --limit 100000
    """
    if not is_account(account):
        raise click.BadParameter(
            f"{account!r} is not an account (such as liability:payable:seller-42)", param_hint="ACCOUNT"
        )
    with asked() as it:
        last = it.position(known_at)
        first = known_until(it.connection, begin) if isinstance(begin, int) else it.position(begin) if begin else {}
        upto = known_until(it.connection, end) if isinstance(end, int) else it.position(end) if end else last
        place = {shard: min(seq, upto.get(shard, 0)) for shard, seq in last.items()}
        code = _currency(it, account, currency)
        page = questions.account_statement(it, account, code, first, place, cursor=cursor, limit=limit)
        known_us = it.reach.known_until_us
    rows = [
        (
            format_time(line.entry.known_at), format_time(line.entry.occurred_at), line.entry.event_type,
            line.entry.settlement_id, line.entry.order_id, line.amount_minor if line.amount_minor > 0 else None,
            -line.amount_minor if line.amount_minor < 0 else None,
            line.balance_minor, code, line.entry.shard, line.entry.seq, line.line_no, line.entry.event_id,
        )
        for line in page.lines
    ]  # fmt: skip
    opening = {"opening_minor": str(page.opening_minor), "account": account, "currency": code}
    told = Shown("lines", COLUMNS, rows, position_token(last), known_us, page.next, more=opening)
    told.notes.append(f"{account}: balance before the first line {told.major(page.opening_minor, code)} {code}")
    show(told, form, out, as_json)


def _currency(it: Asked, account: str, currency: str) -> str:
    found = questions.currencies_of(it, account)
    if not found:
        raise Refused(
            f"{account} has no line in the ledger", remedy="see `finance balances --as-of DAY --account PREFIX`"
        )
    if currency and currency not in found:
        raise Refused(f"{account} has no line in {currency}", remedy=f"ask for one of {', '.join(found)}")
    if not currency and len(found) > 1:
        raise Refused(f"{account} has lines in {', '.join(found)}", remedy="add --currency CODE")
    return currency or found[0]
