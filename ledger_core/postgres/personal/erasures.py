"""Two operators' decision that the personal data of one event are forgotten, and what is left of them.

Guarantees: one approves, another one decides within a day; the database takes no decision otherwise. Each act leaves
its audit event itself, by a trigger (`personal.erasure_approved`; `personal.erased`: event id, reason and approver
alone), and both stand for ever; deciding twice changes nothing. From then on the keeper deletes what is there and takes
no more of it.
Does not: delete anything: the keeper alone may. Needs the grants of finance_api.
"""

from __future__ import annotations

from ledger_core.audit.admission import checked_reason
from ledger_core.books.event_rules import is_uuid
from ledger_core.errors import Refused
from ledger_core.postgres.session import session

KNOWN = """
SELECT EXISTS (SELECT FROM entries WHERE event_id = %(id)s::uuid)
    OR EXISTS (SELECT FROM personal_data WHERE event_id = %(id)s::uuid)
    OR EXISTS (SELECT FROM personal_erasures WHERE event_id = %(id)s::uuid)"""
INSERT = """
INSERT INTO personal_erasures (event_id, reason, actor_id, trace_id) VALUES (%s::uuid, %s, %s, %s)
ON CONFLICT DO NOTHING"""
APPROVE = "INSERT INTO personal_approvals (event_id, reason, actor_id, trace_id) VALUES (%s::uuid, %s, %s, %s)"
ERASED = "SELECT EXISTS (SELECT FROM personal_erasures WHERE event_id = %s::uuid)"
APPROVER = "SELECT personal_approver(%s::uuid, %s)"
LEFT = "SELECT count(event_id) FROM personal_data WHERE event_id = %s::uuid"


def approve(dsn: str, *, event_id: str, reason: str, actor_id: str, trace_id: str) -> None:
    """Put on record that this operator approves of the erasure, which another one decides within a day.

    Raises Refused (no event id, no reason), Unavailable.
    """
    reason = checked_reason(reason)
    _check_event_id(event_id)
    with session(dsn, application_name="finance pii approve") as connection:
        connection.execute(APPROVE, (event_id, reason, actor_id, trace_id))


def decide(dsn: str, *, event_id: str, reason: str, actor_id: str, trace_id: str, unknown_too: bool) -> bool:
    """Write the decision down; False when it stood before. `unknown_too`: also of an event that nothing here knows.

    Raises Refused (no event id, no reason, an event that nothing knows, nobody else who approved), Unavailable.
    """
    reason = checked_reason(reason)
    _check_event_id(event_id)
    with (
        session(dsn, application_name="finance pii erase") as connection,
        connection.transaction(),
        connection.cursor() as cursor,
    ):
        if not unknown_too and cursor.execute(KNOWN, {"id": event_id}).fetchone() == (False,):
            raise Refused(
                f"nothing was posted under {event_id}, and no data of it wait",
                remedy="check the id: what is erased by mistake can never be kept; --unknown erases it all the same",
            )
        if cursor.execute(ERASED, (event_id,)).fetchone() == (True,):
            return False
        if cursor.execute(APPROVER, (event_id, actor_id)).fetchone() == (None,):
            raise Refused(
                f"no other operator approved of erasing {event_id} within the last day",
                remedy="let another operator run, by a certificate of his own: "
                f"finance pii approve {event_id} --reason '...'",
            )
        cursor.execute(INSERT, (event_id, reason, actor_id, trace_id))
        return cursor.rowcount == 1


def _check_event_id(event_id: str) -> None:
    if is_uuid(event_id) is None:
        raise Refused(f"{event_id[:80]!r} is not an event id", remedy="name a UUID in its lower-case text form")


def rows_left(dsn: str, event_id: str) -> int:
    """How many rows of personal data the event still has. Raises Refused, Unavailable."""
    with session(dsn, application_name="finance pii erase", read_only=True) as connection:
        row = connection.execute(LEFT, (event_id,)).fetchone()
    return 0 if row is None else int(row[0])
