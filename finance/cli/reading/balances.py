"""`finance balances`: what the accounts hold, and whether both sides agree."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, table
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
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=100, show_default=True, help="At most so many rows."
)
@click.option("--trial", is_flag=True, help="The trial balance: one line per currency and type; exit 1 when it is off.")
@json_option
def command(prefix: str, type_: str | None, currency: str, limit: int, trial: bool, as_json: bool) -> None:
    """Balances by account, added up over all shards, or the trial balance.

    A balance is positive on the normal side of its type: debit for assets and expenses, credit for the others. JSON
    gives minor units as decimal texts. Reads DATABASE_URL_API.

    \b
    Examples:
      finance balances --account liability:payable: --limit 20
      finance balances --type revenue --currency USD --json
      finance balances --trial
    """
    if currency and currency not in CURRENCIES:
        raise click.BadParameter(f"{currency!r} is not an ISO 4217 code in use", param_hint="--currency")
    if trial and (prefix or type_ or currency):
        raise click.UsageError("--trial is over everything: leave the filters away")
    kind = None if type_ is None else AccountType(type_)
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
