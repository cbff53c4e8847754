"""`finance approvers`: who approves payouts, and from which amounts on more of them are needed."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, operator, reason_option, table, utc
from finance.settings import clock
from finance.settings.operators import checked_name
from ledger_core.books.money import Money, format_major, parse_major
from ledger_core.errors import Rejected
from ledger_core.payouts.states import ROLES
from ledger_core.postgres.payouts.approvers import ApprovalLimit, approvers, change_approver, change_limit, limits
from ledger_core.postgres.session import session


@click.group()
def command() -> None:
    """Who may approve payouts: grant, revoke, limit, list. Changes are the database owner's (DATABASE_URL).

    \b
    Examples:
      finance approvers limit USD --second-from 10000 --third-from 250000 --reason "board decision 12"
      finance approvers grant ada --as finance --reason "starts on 1 December"
    """


@command.command()
@click.argument("name")
@click.option("--as", "role", type=click.Choice(ROLES), required=True, help="The role.")
@reason_option
@json_option
def grant(name: str, role: str, reason: str, as_json: bool) -> None:
    """Let an operator approve in a role. Reads DATABASE_URL and FINANCE_OPERATOR.

    \b
    Example:
      finance approvers grant ada --as finance --reason "starts on 1 December"
    """
    _change(name, role, True, reason, as_json)


@command.command()
@click.argument("name")
@click.option("--as", "role", type=click.Choice(ROLES), required=True, help="The role.")
@reason_option
@json_option
def revoke(name: str, role: str, reason: str, as_json: bool) -> None:
    """Take a role away, and with it the approvals in it of what is not released yet.

    \b
    Example:
      finance approvers revoke ada --as finance --reason "left"
    """
    _change(name, role, False, reason, as_json)


@command.command()
@click.argument("currency")
@click.option("--second-from", required=True, metavar="AMOUNT", help="From here on two approvals; in major units.")
@click.option("--third-from", required=True, metavar="AMOUNT", help="From here on three.")
@reason_option
@json_option
def limit(currency: str, second_from: str, third_from: str, reason: str, as_json: bool) -> None:
    """Say how many approvals payouts in a currency need; without it nobody asks for one. Reads as `grant`.

    \b
    Example:
      finance approvers limit USD --second-from 10000 --third-from 250000 --reason "board decision 12"
    """
    try:
        second, third = (parse_major(text, currency).amount_minor for text in (second_from, third_from))
    except Rejected as error:
        raise click.UsageError(error.detail) from None
    settings = load_settings()
    made = ApprovalLimit(currency, second, third)
    owner, actor_id, trace_id = settings.owner_database_url(), operator(settings), clock.new_trace_id()
    change_limit(owner, made, reason=reason, actor_id=actor_id, trace_id=trace_id)
    told = {"ok": True, **_limit(made), "actor_id": actor_id}
    emit(
        as_json, told, lambda console: console.print(f"{currency}: two from {second_from} on, three from {third_from}")
    )


@command.command("list")
@json_option
def list_approvers(as_json: bool) -> None:
    """Who may approve now, and the limits in force. Reads DATABASE_URL_API.

    \b
    Example:
      finance approvers list
    """
    with session(
        load_settings().database_url("api"), application_name="finance approvers", read_only=True
    ) as connection:
        found, bounds = approvers(connection), limits(connection)
    told = {
        "ok": True,
        "approvers": [{"operator": it.operator, "role": it.role, "since": utc(it.since)} for it in found],
        "limits": [_limit(it) for it in bounds],
    }

    def words(console: Console) -> None:
        console.print(table(["operator", "role", "since"], [[it.operator, it.role, utc(it.since)] for it in found]))
        rows = [[it.currency, *(format_major(Money(minor, it.currency)) for minor in (it[1], it[2]))] for it in bounds]
        columns = ["currency", "two from", "three from"]
        console.print(table(columns, rows, right=columns[1:]))

    emit(as_json, told, words)


def _change(name: str, role: str, granted: bool, reason: str, as_json: bool) -> None:
    settings = load_settings()
    owner, actor_id, trace_id = settings.owner_database_url(), operator(settings), clock.new_trace_id()
    change_approver(
        owner, checked_name(name), role, granted=granted, reason=reason, actor_id=actor_id, trace_id=trace_id
    )
    said = f"{name}  {role}  {'granted' if granted else 'revoked'}"
    told = {"ok": True, "operator": name, "role": role, "granted": granted, "actor_id": actor_id}
    emit(as_json, told, lambda console: console.print(said))


def _limit(it: ApprovalLimit) -> dict[str, str]:
    return {
        "currency": it.currency,
        "second_from_minor": str(it.second_from_minor),
        "third_from_minor": str(it.third_from_minor),
    }
