"""`finance payables ageing`: what payees are owed, and for how long."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from finance.cli.reading.shown import (
    Column,
    Day,
    Shown,
    asked,
    cursor_option,
    known_at_option,
    limit_option,
    output_options,
    show,
)
from ledger_core.postgres.reading import questions
from ledger_core.reading.ageing import AGES_DAYS
from ledger_core.reading.tokens import position_token

AGES = (*(f"to_{days}_days" for days in AGES_DAYS), "older")
COLUMNS = (
    Column("account"), Column("currency"), Column("balance", "amount"), *(Column(name, "amount") for name in AGES)
)  # fmt: skip


@click.group()
def command() -> None:
    """What payees are owed.

    \b
    Example:
      finance payables ageing --as-of 2025-11-30
    """


@command.command()
@click.option("--as-of", "day", type=Day(), help="Up to and with this day of the business time (UTC). [default: today]")
@click.option("--currency", default="", metavar="CODE", help="Only this currency (ISO 4217).")
@known_at_option
@cursor_option
@limit_option(100)
@output_options
def ageing(
    day: dt.date | None,
    currency: str,
    known_at: str | int | None,
    cursor: str,
    limit: int,
    form: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Open payables of each payee (liability:payable:...), by age: 30, 60, 90 days and older.

    What was paid out settles what was owed first. A negative balance is owed by the payee. Reads DATABASE_URL_READING.

    \b
    Examples:
      finance payables ageing --as-of 2025-11-30
      finance payables ageing --currency USD --as-known-at 2025-12-05 --format parquet --out payables.parquet
    """
    upto = day or dt.datetime.now(dt.UTC).date()
    with asked() as it:
        position = it.position(known_at)
        found: list[questions.Payable] = []
        following: str | None = cursor
        while following is not None and len(found) < limit:  # one part may end among many that are owed nothing
            left = limit - len(found)
            page = questions.payables(it, position, upto, currency=currency, cursor=following, limit=left)
            found, following = found + page.payables, page.next
        known_us = it.reach.known_until_us
    rows = [
        (owed.account, owed.currency, owed.balance_minor,
         *((part.amount_minor for part in owed.parts) if owed.parts else [0] * len(AGES)))
        for owed in found
    ]  # fmt: skip
    told = Shown("payables", COLUMNS, rows, position_token(position), known_us, following, more={"as_of": str(upto)})
    told.notes.append(f"as of {upto}, oldest first settled")
    show(told, form, out, as_json)
