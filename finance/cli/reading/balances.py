"""`finance balances`: what the accounts hold, and whether both sides agree."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click
from rich.console import Console

from finance.cli.common import emit, load_settings, table
from finance.cli.reading.balances_then import balances_then, trial_then
from finance.cli.reading.shown import Day, cursor_option, known_at_option, limit_option, output_options, show
from ledger_core.books.accounts import AccountType
from ledger_core.books.money import CURRENCIES, Money, format_major
from ledger_core.postgres.reading import queries
from ledger_core.postgres.reading.queries import Balance, TrialLine
from ledger_core.postgres.session import session

LIMIT_MAX = 1_000_000
TYPES = click.Choice([kind.value for kind in AccountType])


@click.command()
@click.option("--account", "prefix", default="", metavar="PREFIX", help="Only accounts that begin so.")
@click.option("--type", "type_", type=TYPES, help="Only accounts of this type.")
@click.option("--currency", default="", metavar="CODE", help="Only this currency (ISO 4217).")
@click.option("--as-of", "day", type=Day(), help="Up to and with this day of the business time (UTC).")
@known_at_option
@click.option("--trial", is_flag=True, help="The trial balance: one line per currency and type; exit 1 when it is off.")
@cursor_option
@limit_option(100, LIMIT_MAX)
@output_options
def command(
    prefix: str,
    type_: str | None,
    currency: str,
    day: dt.date | None,
    known_at: str | int | None,
    trial: bool,
    cursor: str,
    limit: int,
    form: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Balances by account, added up over all shards, or the trial balance.

    A balance is positive on the normal side of its type: debit for assets and expenses, credit for the others. JSON
    gives minor units as decimal texts. Reads DATABASE_URL_API: the ledger, as of now. With --as-of or --as-known-at it
    reads the projection (DATABASE_URL_READING): what had happened up to a day, as far as it was known at a moment; that
    answer never changes.

    \b
    Examples:
      finance balances --account liability:payable: --limit 20
      finance balances --type revenue --currency USD --json
      finance balances --trial
      finance balances --as-of 2025-11-30 --as-known-at 2025-12-05T00:00:00Z --format csv
    """
    if currency and currency not in CURRENCIES:
        raise click.BadParameter(f"{currency!r} is not an ISO 4217 code in use", param_hint="--currency")
    if trial and (prefix or type_ or currency):
        raise click.UsageError("--trial is over everything: leave the filters away")
    kind = None if type_ is None else AccountType(type_)
    if day is not None or known_at is not None:
        if kind is not None and not f"{kind}:".startswith(prefix) and not prefix.startswith(f"{kind}:"):
            raise click.UsageError(f"no account of type {kind} begins with {prefix}")
        wanted = max(prefix, "" if kind is None else f"{kind}:", key=len)
        told = trial_then(day, known_at) if trial else balances_then(wanted, currency, day, known_at, cursor, limit)
        show(told, form, out, as_json)
        if not told.ok:
            raise click.exceptions.Exit(1)
        return
    if form not in ("table", "json") or out is not None or cursor:
        raise click.UsageError("--cursor, --out, CSV and Parquet go with --as-of or --as-known-at")
    _now(prefix, kind, currency, limit, trial, as_json or form == "json")


def _now(prefix: str, kind: AccountType | None, currency: str, limit: int, trial: bool, as_json: bool) -> None:
    with session(
        load_settings().database_url("api"), application_name="finance balances", read_only=True
    ) as connection:
        if trial:
            _trial(queries.trial_balance(connection), as_json)
            return
        found = queries.balances(connection, prefix=prefix, type_=kind, currency=currency, limit=limit + 1)
    more = len(found) > limit
    _list(found[:limit], more, as_json)


def _list(found: list[Balance], more: bool, as_json: bool) -> None:
    def words(console: Console) -> None:
        rows = [
            (b.account, b.currency, _major(b.debits, b.currency), _major(b.credits, b.currency),
             _major(b.amount_minor, b.currency))
            for b in found
        ]  # fmt: skip
        numbers = ("debits", "credits", "balance")
        console.print(table(("account", "currency", *numbers), rows, right=numbers))
        if more:
            console.print("more accounts exist: raise --limit or narrow --account")

    told = [
        {
            "account": b.account,
            "currency": b.currency,
            "debits_minor": str(b.debits),
            "credits_minor": str(b.credits),
            "balance_minor": str(b.amount_minor),
        }
        for b in found
    ]
    emit(as_json, {"ok": True, "balances": told, "more": more}, words)


def _trial(lines: list[TrialLine], as_json: bool) -> None:
    differences: dict[str, int] = {}
    for line in lines:
        differences[line.currency] = differences.get(line.currency, 0) + line.debits - line.credits
    off = {currency: difference for currency, difference in differences.items() if difference}

    def words(console: Console) -> None:
        rows = []
        for currency in differences:
            own = [line for line in lines if line.currency == currency]
            rows += [_trial_row(line.type, line) for line in own]
            sides = sum(line.debits for line in own), sum(line.credits for line in own)
            total = TrialLine("total", currency, *sides, sum(line.accounts for line in own))
            rows.append(_trial_row("total", total))
        numbers = ("accounts", "debits", "credits")
        console.print(table(("type", "currency", *numbers), rows, right=numbers))
        for currency, difference in off.items():
            console.print(f"OFF: {currency} debits - credits = {_major(difference, currency)}")
        if not off:
            console.print("debits equal credits in every currency")

    told = [
        {
            "type": line.type,
            "currency": line.currency,
            "accounts": line.accounts,
            "debits_minor": str(line.debits),
            "credits_minor": str(line.credits),
        }
        for line in lines
    ]
    emit(as_json, {"ok": not off, "trial_balance": told, "off_minor": {c: str(d) for c, d in off.items()}}, words)
    if off:
        raise click.exceptions.Exit(1)


def _trial_row(name: str, line: TrialLine) -> tuple[str, ...]:
    return (
        name,
        line.currency,
        f"{line.accounts:,}",
        _major(line.debits, line.currency),
        _major(line.credits, line.currency),
    )


def _major(amount_minor: int, currency: str) -> str:
    return format_major(Money(amount_minor, currency))
