"""Payees whose payouts wait: who held them, why, and who let them go.

Guarantees: a hold stops every release that commits after it; somebody else than who placed it lets go; each row leaves
its event. Does not: change what is owed, or close a request.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, NamedTuple

from psycopg import errors

from ledger_core.audit.admission import checked_reason
from ledger_core.errors import Refused
from ledger_core.postgres.session import Session, session

APPLICATION: Final = "finance hold"
HOLD: Final = """
INSERT INTO payee_holds (hold_id, payee, currency, reason, actor_id, trace_id) VALUES (%s, %s, %s, %s, %s, %s)"""
LET_GO: Final = "INSERT INTO payee_holds_lifted (hold_id, reason, actor_id, trace_id) VALUES (%s, %s, %s, %s)"
PAGE: Final = """
SELECT h.hold_id::text, h.payee, h.currency, h.reason, h.actor_id, h.held_at, l.actor_id, l.reason, l.lifted_at
  FROM payee_holds h LEFT JOIN payee_holds_lifted l USING (hold_id)
 WHERE (%(payee)s = '' OR h.payee = %(payee)s) AND (NOT %(open)s OR l.hold_id IS NULL)
 ORDER BY h.held_at DESC, h.hold_id LIMIT %(limit)s"""


class PayeeHold(NamedTuple):
    """A hold, and who let it go."""

    hold_id: str  # UUID
    payee: str  # whose payouts wait
    currency: str | None  # in this currency alone; None: in all
    reason: str  # why
    actor_id: str  # who held them: operator:<name>
    held_at: dt.datetime  # UTC
    lifted_by: str | None  # operator:<name>
    lifting_reason: str | None  # why
    lifted_at: dt.datetime | None  # UTC


def hold(
    dsn: str, hold_id: str, payee: str, currency: str | None, reason: str, *, actor_id: str, trace_id: str
) -> None:
    """Hold the payouts of a payee, under a new UUID. Raises Refused, Unavailable."""
    reason = checked_reason(reason)
    try:
        with session(dsn, application_name=APPLICATION) as connection:
            connection.execute(HOLD, (hold_id, payee, currency, reason, actor_id, trace_id))
    except errors.CheckViolation as error:
        raise Refused(
            f"{payee!r} in {currency or 'all currencies'} is not a payee", remedy="name it as in its account"
        ) from error


def let_go(dsn: str, hold_id: str, reason: str, *, actor_id: str, trace_id: str) -> bool:
    """Let go, as somebody else than who held them; False: it was let go before. Raises Refused, Unavailable."""
    reason = checked_reason(reason)
    try:
        with session(dsn, application_name=APPLICATION) as connection:
            connection.execute(LET_GO, (hold_id, reason, actor_id, trace_id))
    except errors.UniqueViolation:
        return False
    except errors.ForeignKeyViolation as error:
        raise Refused(f"there is no hold {hold_id}", remedy="see `finance hold list`") from error
    except errors.CheckViolation as error:
        raise Refused(
            "who holds payouts does not let them go",
            remedy="let another operator run this, by a certificate of his own",
        ) from error
    return True


def holds(connection: Session, *, payee: str = "", is_open: bool = True, limit: int) -> list[PayeeHold]:
    """The newest first."""
    values = {"payee": payee, "open": is_open, "limit": limit}
    return [PayeeHold(*row) for row in connection.execute(PAGE, values)]
