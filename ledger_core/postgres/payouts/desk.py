"""Asking for a payout, approving it, closing it: each one transaction, against what the payee is owed.

The order of side effects of a request; each step stands as a comment where it happens:
  1. LOCK the payee's balance in this currency    until the transaction ends; another request waits
  2. COUNT what is owed and what is reserved      nothing changes
  3. INSERT the request                           COMMIT is the commit point; a trigger leaves its event
A release is the same with the closing in place of the request, and what is published afterwards follows from the row.
Guarantees: two requests never count one balance twice; what was posted before the lock was taken is counted, or the
answer is Unavailable. Does not: publish.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import orjson
from psycopg import errors

from ledger_core.audit.admission import checked_reason
from ledger_core.books.chart import PAYABLE
from ledger_core.books.movements.forms import SellerPayout
from ledger_core.errors import Refused
from ledger_core.payouts.states import Available, PayoutRequest, form_of
from ledger_core.postgres.payouts.requests import RESERVED, known, request_of
from ledger_core.postgres.reading.asking import snapshot, wait_for
from ledger_core.postgres.reading.projection_balances import account_sides
from ledger_core.postgres.session import Session, session

APPLICATION: Final = "finance payout"
NOBODY: Final = "00000000-0000-0000-0000-000000000000"
WAIT_SECONDS_MAX: Final = 30.0
HEADS: Final = "SELECT shard, seq FROM shards WHERE seq > 0"
LOCK: Final = "SELECT lock_payable(%s, %s)"
ASK: Final = "INSERT INTO payouts (request_id, form, reason, actor_id, trace_id) VALUES (%s, %s, %s, %s, %s)"
APPROVE: Final = """
INSERT INTO payout_approvals (request_id, form_hash, role, reason, actor_id, trace_id)
VALUES (%s, decode(%s, 'hex'), %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
CLOSE: Final = """
INSERT INTO payout_closings (request_id, closing, form_hash, reason, actor_id, trace_id)
VALUES (%s, %s, decode(%s, 'hex'), %s, %s, %s)"""


class PayoutDesk:
    """Where one operator decides about payouts. `ledger` and `reading` are database URLs of the roles finance_api and
    finance_reading; `actor_id` is operator:<name>. Every method may raise Refused and Unavailable."""

    def __init__(self, ledger: str, reading: str, *, actor_id: str, trace_id: str) -> None:
        self._ledger, self._reading = ledger, reading
        self._actor_id, self._trace_id = actor_id, trace_id

    def available(self, payee: str, currency: str) -> Available:
        """What the payee may still be paid."""
        with session(self._ledger, application_name=APPLICATION) as connection:
            return self._count(connection, payee, currency, but=NOBODY)

    def request(self, movement: SellerPayout, reason: str) -> PayoutRequest:
        """Ask. The same request id with the same content is the request that is there. Raises BadMovement too."""
        form, reason, request_id = form_of(movement), checked_reason(reason), str(movement.event_id)
        with self._deciding() as connection:
            # 1. LOCK. Nothing changes: a crash gives it free.
            connection.execute(LOCK, (movement.payee, movement.currency))
            there = request_of(connection, request_id)
            if there is None:
                # 2. COUNT. Nothing changes.
                self._check(connection, movement.payee, movement.currency, movement.amount_minor, but=NOBODY)
                # 3. INSERT. A crash before: nobody asked; after: the request waits.
                connection.execute(ASK, (request_id, form, reason, self._actor_id, self._trace_id))
                there = known(connection, request_id)
            elif _content(there) != _content_of(movement):
                raise Refused(
                    f"payout {request_id} is there already, with other content",
                    remedy="leave --id out, and it gets one of its own",
                )
            return there

    def approve(self, request_id: str, role: str, form_hash: str | None, reason: str) -> PayoutRequest:
        """Say yes in a role. `form_hash`: of what the approver has seen; None: of what stands there."""
        reason = checked_reason(reason)
        with self._deciding() as connection:
            asked = known(connection, request_id)
            wanted = form_hash or asked.form_hash
            if wanted != asked.form_hash:
                raise Refused(
                    f"payout {request_id} has the hash {asked.form_hash}, not {wanted}",
                    remedy="see what you approve: finance payout show",
                )
            if not any((it.actor_id, it.role) == (self._actor_id, role) for it in asked.approvals):
                done = connection.execute(APPROVE, (request_id, wanted, role, reason, self._actor_id, self._trace_id))
                if done.rowcount == 0:
                    raise Refused(
                        f"payout {request_id} has an approval of yours, or one in the role {role}",
                        remedy="each approval is of another person in another role: let somebody else approve",
                    )
            return known(connection, request_id)

    def reject(self, request_id: str, reason: str) -> PayoutRequest:
        """Close a request that is not to be paid; whoever asked may take it back so."""
        reason = checked_reason(reason)
        with self._deciding() as connection:
            asked = known(connection, request_id)
            if asked.closing != "rejected":
                self._close(connection, asked, "rejected", reason)
            return known(connection, request_id)

    def release(self, request_id: str, reason: str) -> PayoutRequest:
        """Close a request as released: from here on its event is to be published, however often it takes."""
        reason = checked_reason(reason)
        with self._deciding() as connection:
            asked = known(connection, request_id)
            if asked.closing == "released":
                return asked
            connection.execute(LOCK, (asked.payee, asked.currency))
            self._check(connection, asked.payee, asked.currency, asked.amount_minor, but=request_id)
            self._close(connection, asked, "released", reason)
            return known(connection, request_id)

    def _close(self, connection: Session, asked: PayoutRequest, closing: str, reason: str) -> None:
        values = (asked.request_id, closing, asked.form_hash, reason, self._actor_id, self._trace_id)
        connection.execute(CLOSE, values)

    @contextmanager
    def _deciding(self) -> Iterator[Session]:
        """A transaction in which one decision is made; what a trigger says against it is Refused."""
        try:
            with session(self._ledger, application_name=APPLICATION) as connection, connection.transaction():
                yield connection
        except (errors.CheckViolation, errors.UniqueViolation) as error:
            said = error.diag.message_primary or "the database refused it"
            raise Refused(
                said, remedy="see `finance payout show`: it says what is missing (RUNBOOK, section 19)"
            ) from error

    def _check(self, connection: Session, payee: str, currency: str, amount_minor: int, *, but: str) -> None:
        left = self._count(connection, payee, currency, but=but)
        if amount_minor > left.minor:
            raise Refused(
                f"{amount_minor} {currency} are more than {payee} may be paid: {left.balance_minor} are owed, and "
                f"{left.reserved_minor} of them are asked for already (minor units)",
                remedy="ask for less, or reject what is no longer wanted: finance payout list --payee " + payee,
            )

    def _count(self, connection: Session, payee: str, currency: str, *, but: str) -> Available:
        """What is owed at a position that holds all that is posted now, and what of it is spoken for."""
        heads: list[tuple[int, int]] = connection.execute(HEADS).fetchall()
        with session(self._reading, application_name=APPLICATION, read_only=True) as reading:
            for shard, seq in heads:
                wait_for(reading, shard, seq, seconds=WAIT_SECONDS_MAX)
            with snapshot(reading) as asked:
                position = asked.position(None)
                sides = account_sides(asked.connection, PAYABLE.path + payee, position, currency=currency)
        balance = sum(it.credits - it.debits for it in sides)
        reached = orjson.dumps({str(shard): seq for shard, seq in position.items()}).decode()
        values = {"payee": payee, "currency": currency, "but": but, "position": reached}
        (reserved,) = connection.execute(RESERVED, values).fetchone() or (0,)
        return Available(balance, int(reserved), position)


def _content(asked: PayoutRequest) -> tuple[object, ...]:
    said = orjson.loads(asked.form)
    return asked.payee, asked.currency, asked.amount_minor, said["paid_from"]


def _content_of(movement: SellerPayout) -> tuple[object, ...]:
    return movement.payee, movement.currency, movement.amount_minor, movement.paid_from
