"""The record of recovery drills: each completed one is an event of the audit chain.

Guarantees: `complete_drill` writes one intent, in one transaction, as the role of operators; `newest_sound_drill` says
when the newest drill without a finding was put on the chain. Does not: hold the report, only its digests.
"""

from __future__ import annotations

import datetime as dt

from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.session import Session, session

EVENT_TYPE = "drill.completed"

NEWEST_SOUND = """
SELECT max(created_at) FROM audit_events WHERE event_type = %s AND payload->>'sound' = 'true'"""


def complete_drill(dsn: str, payload: dict[str, object], *, actor_id: str, trace_id: str) -> None:
    """Ask for the drill's place on the audit chain. Raises Refused, Unavailable."""
    with (
        session(dsn, application_name="finance drill") as connection,
        connection.transaction(),
        connection.cursor() as cursor,
    ):
        append_intent(cursor, AuditIntent(EVENT_TYPE, actor_id, payload, trace_id))


def newest_sound_drill(connection: Session) -> dt.datetime | None:
    """When the newest drill without a finding was chained; None when there was none."""
    row = connection.execute(NEWEST_SOUND, (EVENT_TYPE,)).fetchone()
    return row[0] if row is not None else None
