"""`finance report revenue` and `finance report fees`: amounts by month of the business time."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import click

from finance.cli.reading.shown import Column, Day, F, Shown, asked, known_at_option, output_options, show
from ledger_core.errors import Refused
from ledger_core.postgres.reading import questions
from ledger_core.reading.tokens import position_token

ACCOUNTS_MAX = 200
MONTHS_MAX = 120
FEES = "revenue:fees"
COLUMNS = (
    Column("month"), Column("account"), Column("currency"), Column("amount", "amount"), Column("debits", "amount"),
    Column("credits", "amount"),
)  # fmt: skip


@click.group()
def command() -> None:
    """Reports by month.

    \b
    Example:
      finance report revenue --by month
    """


def _options(function: F) -> F:
    by = click.option("--by", type=click.Choice(["month"]), default="month", help="Length of a period.")
    first = click.option("--from", "first", type=Day(), help="A day of the first month. [default: 11 months before]")
    last = click.option("--to", "last", type=Day(), help="A day of the last month. [default: this month]")
    return by(first(last(known_at_option(output_options(function)))))


@command.command()
@_options
def revenue(**given: Any) -> None:
    """Revenue of each month (of the business time, UTC), account by account.

    An amount is credits less debits: what came in less what was given back. Reads DATABASE_URL_READING.

    \b
    Examples:
      finance report revenue --by month
      finance report revenue --by month --from 2025-01-01 --to 2025-12-31 --as-known-at 2026-01-15 --format csv
    """
    _report("revenue:", **given)


@command.command()
@_options
def fees(**given: Any) -> None:
    """Fees of each month (of the business time, UTC): the accounts that begin with revenue:fees.

    An amount is credits less debits. Reads DATABASE_URL_READING.

    \b
    Examples:
      finance report fees --by month
      finance report fees --by month --from 2025-10-01 --to 2025-12-31 --json
    """
    _report(FEES, **given)


def _report(
    prefix: str,
    *,
    by: str,
    first: dt.date | None,
    last: dt.date | None,
    known_at: str | int | None,
    form: str,
    out: Path | None,
    as_json: bool,
) -> None:
    end = last or dt.datetime.now(dt.UTC).date()
    begin = first or dt.date(end.year - (end.month < 12), end.month % 12 + 1, 1)
    months = (end.year - begin.year) * 12 + end.month - begin.month + 1
    if not 1 <= months <= MONTHS_MAX:
        raise click.UsageError(f"--from and --to must be in order, and at most {MONTHS_MAX} months apart")
    with asked() as it:
        position = it.position(known_at)
        accounts = questions.accounts_like(it, prefix, ACCOUNTS_MAX + 1)
        if len(accounts) > ACCOUNTS_MAX:
            raise Refused(
                f"more than {ACCOUNTS_MAX} accounts begin with {prefix}",
                remedy="ask account by account: `finance account statement ACCOUNT`",
            )
        found = questions.by_month(it, accounts, position, begin, months)
        known_us = it.reach.known_until_us
    rows = [(row.month, row.account, row.currency, row.credits - row.debits, row.debits, row.credits) for row in found]
    more: dict[str, object] = {"by": by, "from": f"{begin:%Y-%m}", "to": f"{end:%Y-%m}"}
    told = Shown("amounts", COLUMNS, rows, position_token(position), known_us, more=more)
    show(told, form, out, as_json)
