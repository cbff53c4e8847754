"""Who may approve payouts in which role, and from which amounts on more approvals are needed: the owner's rows.

Guarantees: nothing is overwritten, the newest row of an operator and role, or of a currency, counts; each leaves its
event. Without a limit in a currency nobody asks for a payout in it. Does not: serve anybody but the database's owner.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, NamedTuple

from psycopg import errors

from ledger_core.audit.admission import checked_reason
from ledger_core.errors import Refused
from ledger_core.postgres.session import Session, session

APPLICATION: Final = "finance approvers"
CHANGE: Final = """
INSERT INTO approver_changes (operator, role, granted, reason, actor_id, trace_id) VALUES (%s, %s, %s, %s, %s, %s)"""
LIMIT: Final = """
INSERT INTO approval_limit_changes (currency, second_from_minor, third_from_minor, reason, actor_id, trace_id)
VALUES (%s, %s, %s, %s, %s, %s)"""
APPROVERS: Final = """
SELECT * FROM (SELECT DISTINCT ON (operator, role) operator, role, granted, changed_at FROM approver_changes
                ORDER BY operator, role, change_no DESC) newest WHERE granted ORDER BY operator, role"""
LIMITS: Final = """
SELECT DISTINCT ON (currency) currency, second_from_minor, third_from_minor FROM approval_limit_changes
 ORDER BY currency, change_no DESC"""


class Approver(NamedTuple):
    """Somebody who may approve."""

    operator: str  # name, as in the certificate
    role: str  # finance, lead or executive
    since: dt.datetime  # UTC


class ApprovalLimit(NamedTuple):
    """From which amounts on a payout needs more approvals than one."""

    currency: str  # three capital letters, ISO 4217
    second_from_minor: int  # minor units: from here on two
    third_from_minor: int  # minor units: from here on three


def change_approver(
    owner: str, name: str, role: str, *, granted: bool, reason: str, actor_id: str, trace_id: str
) -> None:
    """Give a role, or take it away. `owner`: the database's URL of its owner. Raises Refused, Unavailable."""
    _insert(owner, CHANGE, (name, role, granted, checked_reason(reason), actor_id, trace_id), f"operator {name!r}")


def change_limit(owner: str, limit: ApprovalLimit, *, reason: str, actor_id: str, trace_id: str) -> None:
    """Set the limits of a currency. `owner`: as `change_approver`. Raises Refused, Unavailable."""
    _insert(owner, LIMIT, (*limit, checked_reason(reason), actor_id, trace_id), "this limit")


def approvers(connection: Session) -> list[Approver]:
    """Who may approve now."""
    return [Approver(name, role, at) for name, role, _, at in connection.execute(APPROVERS)]


def limits(connection: Session) -> list[ApprovalLimit]:
    """The limits in force, by currency."""
    return [ApprovalLimit(*row) for row in connection.execute(LIMITS)]


def _insert(owner: str, statement: str, values: tuple[object, ...], what: str) -> None:
    try:
        with session(owner, application_name=APPLICATION) as connection:
            connection.execute(statement.encode(), values)
    except errors.CheckViolation as error:
        said = error.diag.constraint_name or error.diag.message_primary
        raise Refused(f"{what} cannot be so ({said})", remedy="see `finance approvers --help`") from error
