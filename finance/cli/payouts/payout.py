"""`finance payout`: money for a seller, asked for by one operator, approved by others, released once."""

from __future__ import annotations

import click
from rich.console import Console

from finance.cli.common import emit, json_option, load_settings, load_topology_of, operator, reason_option, table, utc
from finance.cli.payouts.options import SHOWN_MAX, RequestId
from finance.cli.payouts.payout_shown import amount_of, missing_of, object_of, tell
from finance.settings import clock
from finance.settings.deployment import Settings
from ledger_core.books.chart import BadMovement
from ledger_core.books.money import Money, format_major, parse_major
from ledger_core.books.movements.booking import event_of
from ledger_core.errors import Rejected
from ledger_core.payouts.states import ROLES, PayoutRequest, asked_for
from ledger_core.postgres.payouts.desk import PayoutDesk
from ledger_core.postgres.payouts.requests import known, requests
from ledger_core.postgres.session import session
from producers.settlement_publisher import SettlementPublisher
from schemas.wire.movement_json import decode_movement_json


@click.group()
def command() -> None:
    """Pay sellers: request, approve, reject, release, list, show, available.

    Who asks does not approve. How many approvals a payout needs, each of another person in another role, follows from
    its amount (`finance approvers list`). A request that is not released within 24 hours expires.

    \b
    Example:
      finance payout request --payee seller-42 --amount 97.10 --currency USD --from asset:bank:main --reason "week 48"
    """


@command.command()
@click.option("--payee", required=True, help="The seller, as in liability:payable:<payee>.")
@click.option("--amount", required=True, help="In major units, such as 97.10.")
@click.option("--currency", required=True, help="Three capital letters, ISO 4217.")
@click.option("--from", "paid_from", required=True, metavar="ACCOUNT", help="Where the money leaves: asset:bank:main.")
@click.option("--id", "request_id", type=RequestId(), help="A UUID of your own: asked again with it, it is one payout.")
@reason_option
@json_option
def request(
    payee: str, amount: str, currency: str, paid_from: str, request_id: str | None, reason: str, as_json: bool
) -> None:
    """Ask for a payout of what a seller is owed and nobody asked for yet.

    Waits until the read side has everything that is posted, then counts under a lock: two requests never count one
    balance twice. Reads DATABASE_URL_API, DATABASE_URL_READING and FINANCE_OPERATOR.

    \b
    Examples:
      finance payout request --payee seller-42 --amount 97.10 --currency USD --from asset:bank:main --reason "week 48"
      finance payout request ... --id 0193a1c2-5b6e-7d10-8f22-9a3b4c5d6e7f --json
    """
    try:
        movement = asked_for(
            request_id or clock.new_id(),
            payee=payee,
            amount_minor=parse_major(amount, currency).amount_minor,
            currency=currency,
            paid_from=paid_from,
            at=clock.utc_now(),
        )
        asked = _desk(load_settings()).request(movement, reason)
    except BadMovement as error:
        raise click.UsageError(str(error)) from None
    except Rejected as error:
        raise click.BadParameter(error.detail, param_hint="--amount") from None
    tell(asked, as_json, f"{amount_of(asked)} for {asked.payee} is asked for")


@command.command()
@click.argument("request_id", type=RequestId())
@click.option("--as", "role", type=click.Choice(ROLES), required=True, help="The role in which you approve.")
@click.option("--hash", "form_hash", help="Of what you have seen (finance payout show); refused when it is another.")
@reason_option
@json_option
def approve(request_id: str, role: str, form_hash: str | None, reason: str, as_json: bool) -> None:
    """Approve a payout that somebody else asked for, in one of your roles.

    Reads DATABASE_URL_API and FINANCE_OPERATOR; in production your name is that of your certificate.

    \b
    Example:
      finance payout approve 0193a1c2-5b6e-7d10-8f22-9a3b4c5d6e7f --as finance --reason "statement checked"
    """
    asked = _desk(load_settings()).approve(request_id, role, form_hash, reason)
    tell(asked, as_json, f"{amount_of(asked)} for {asked.payee} is approved by you as {role}")


@command.command()
@click.argument("request_id", type=RequestId())
@reason_option
@json_option
def reject(request_id: str, reason: str, as_json: bool) -> None:
    """Close a request that is not to be paid; whoever asked may take it back so. Its amount is available again.

    \b
    Example:
      finance payout reject 0193a1c2-5b6e-7d10-8f22-9a3b4c5d6e7f --reason "wrong seller"
    """
    asked = _desk(load_settings()).reject(request_id, reason)
    tell(asked, as_json, f"{amount_of(asked)} for {asked.payee} is rejected")


@command.command()
@click.argument("request_id", type=RequestId())
@reason_option
@json_option
def release(request_id: str, reason: str, as_json: bool) -> None:
    """Pay: put the release on record, then publish the event that books it. Run it again after any interruption.

    Refused without its approvals, after 24 hours, while payouts of the seller are held, and when less is owed by now.
    The event's id is that of the request: published again, it is posted once. `finance payout show` says when it is
    posted. Reads DATABASE_URL_API, DATABASE_URL_READING, KAFKA_BROKERS and FINANCE_OPERATOR.

    \b
    Example:
      finance payout release 0193a1c2-5b6e-7d10-8f22-9a3b4c5d6e7f --reason "transfer 4711 at the bank"
    """
    settings = load_settings()
    asked = _desk(settings).release(request_id, reason)
    if asked.entry is None:
        _publish(settings, asked)
    tell(asked, as_json, f"{amount_of(asked)} for {asked.payee} is released, and published")


@command.command("list")
@click.option("--payee", default="", help="Of this seller alone.")
@click.option("--all", "is_all", is_flag=True, help="Those that are closed, too.")
@click.option("--limit", type=click.IntRange(1, SHOWN_MAX), default=100, show_default=True, help="At most so many.")
@json_option
def list_requests(payee: str, is_all: bool, limit: int, as_json: bool) -> None:
    """Requests that wait for an approval, for their release, or for their verdict; the newest first.

    Reads DATABASE_URL_API.

    \b
    Examples:
      finance payout list
      finance payout list --payee seller-42 --all --json
    """
    with session(load_settings().database_url("api"), application_name="finance payout", read_only=True) as connection:
        found = requests(connection, payee=payee, is_open=not is_all, limit=limit)

    def words(console: Console) -> None:
        rows = [
            [it.request_id, utc(it.requested_at), it.payee, amount_of(it), it.state, missing_of(it), it.actor_id]
            for it in found
        ]
        console.print(table(["id", "asked", "payee", "amount", "state", "needs", "by"], rows, right=["amount"]))

    emit(as_json, {"ok": True, "payouts": [object_of(it) for it in found]}, words)


@command.command()
@click.argument("request_id", type=RequestId())
@json_option
def show(request_id: str, as_json: bool) -> None:
    """One request: who asked, who approved, its hash, its state, and where it is posted. Reads DATABASE_URL_API.

    \b
    Example:
      finance payout show 0193a1c2-5b6e-7d10-8f22-9a3b4c5d6e7f
    """
    with session(load_settings().database_url("api"), application_name="finance payout", read_only=True) as connection:
        asked = known(connection, request_id)
    tell(asked, as_json, f"{amount_of(asked)} for {asked.payee}")


@command.command()
@click.argument("payee")
@click.argument("currency")
@json_option
def available(payee: str, currency: str, as_json: bool) -> None:
    """What a seller may be paid now: owed, less what is asked for already. Reads as `request`.

    \b
    Example:
      finance payout available seller-42 USD
    """
    left = _desk(load_settings()).available(payee, currency)
    told = {
        "ok": True,
        "payee": payee,
        "currency": currency,
        "balance_minor": str(left.balance_minor),
        "reserved_minor": str(left.reserved_minor),
        "available_minor": str(left.minor),
    }

    def words(console: Console) -> None:
        for name, minor in (
            ("owed", left.balance_minor),
            ("asked for", left.reserved_minor),
            ("available", left.minor),
        ):
            console.print(f"{name:<10}{format_major(Money(minor, currency)):>16} {currency}")

    emit(as_json, told, words)


def _desk(settings: Settings) -> PayoutDesk:
    return PayoutDesk(
        settings.database_url("api"),
        settings.database_url("reading"),
        actor_id=operator(settings),
        trace_id=clock.new_trace_id(),
    )


def _publish(settings: Settings, asked: PayoutRequest) -> None:
    """The event, made of the approved bytes alone."""
    topics = load_topology_of(settings).topics
    with SettlementPublisher(
        settings.kafka_brokers,
        topics["settlements"].name,
        personal_topic=topics["personal"].name,
        options=settings.kafka_options("marketplace"),
    ) as publisher:
        publisher.publish_and_wait(event_of(decode_movement_json(asked.form.encode())))
