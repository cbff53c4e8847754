"""`finance hold`: payouts of one seller wait, until somebody else lets them go."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, operator, reason_option, table, utc
from finance.cli.payouts.options import SHOWN_MAX, RequestId
from finance.settings import clock
from ledger_core.postgres.payouts.holds import PayeeHold, hold, holds, let_go
from ledger_core.postgres.session import session


@click.group()
def command() -> None:
    """Let payouts of a seller wait: place, release, list. What is owed does not change.

    \b
    Example:
      finance hold place seller-42 --reason "reconciliation 7: amount mismatch"
    """


@command.command()
@click.argument("payee")
@click.option("--currency", help="In this currency alone; without it, in all.")
@reason_option
@json_option
def place(payee: str, currency: str | None, reason: str, as_json: bool) -> None:
    """Hold the payouts of a seller: none is released from here on. Reads DATABASE_URL_API and FINANCE_OPERATOR.

    \b
    Example:
      finance hold place seller-42 --currency USD --reason "reconciliation 7: amount mismatch"
    """
    settings = load_settings()
    actor_id, hold_id = operator(settings), clock.new_id()
    dsn, trace_id = settings.database_url("api"), clock.new_trace_id()
    hold(dsn, hold_id, payee, currency, reason, actor_id=actor_id, trace_id=trace_id)
    told = {"ok": True, "hold_id": hold_id, "payee": payee, "currency": currency, "actor_id": actor_id}
    emit(as_json, told, lambda console: console.print(f"payouts of {payee} are held: {hold_id}"))


@command.command()
@click.argument("hold_id", type=RequestId())
@reason_option
@json_option
def release(hold_id: str, reason: str, as_json: bool) -> None:
    """Let go what somebody else held. Reads DATABASE_URL_API and FINANCE_OPERATOR.

    \b
    Example:
      finance hold release 0193a1c2-5b6e-7d10-8f22-9a3b4c5d6e7f --reason "corrected by the provider, case 7"
    """
    settings = load_settings()
    actor_id, trace_id = operator(settings), clock.new_trace_id()
    changed = let_go(settings.database_url("api"), hold_id, reason, actor_id=actor_id, trace_id=trace_id)
    said = f"{hold_id} is let go by {actor_id}" if changed else f"{hold_id} was let go before"
    told = {"ok": True, "hold_id": hold_id, "changed": changed, "actor_id": actor_id}
    emit(as_json, told, lambda console: console.print(said))


@command.command("list")
@click.option("--payee", default="", help="Of this seller alone.")
@click.option("--all", "is_all", is_flag=True, help="Those that were let go, too.")
@click.option("--limit", type=click.IntRange(1, SHOWN_MAX), default=100, show_default=True, help="At most so many.")
@json_option
def list_holds(payee: str, is_all: bool, limit: int, as_json: bool) -> None:
    """Holds that stand, the newest first. Reads DATABASE_URL_API.

    \b
    Example:
      finance hold list --all
    """
    with session(load_settings().database_url("api"), application_name="finance hold", read_only=True) as connection:
        found = holds(connection, payee=payee, is_open=not is_all, limit=limit)

    def words(console: Console) -> None:
        rows = [
            [it.hold_id, utc(it.held_at), it.payee, it.currency or "all", it.reason, it.actor_id, it.lifted_by or ""]
            for it in found
        ]
        console.print(table(["id", "since", "payee", "currency", "reason", "by", "let go by"], rows))

    emit(as_json, {"ok": True, "holds": [_object(it) for it in found]}, words)


def _object(it: PayeeHold) -> dict[str, object]:
    return {
        **it._asdict(),
        "held_at": utc(it.held_at),
        "lifted_at": None if it.lifted_at is None else utc(it.lifted_at),
    }
