"""The record of recovery drills: each completed one is an event of the audit chain.

Guarantees: `complete_drill` writes one intent, in one transaction, as the role of operators; `newest_sound_drill` says
when the newest drill without a finding was put on the chain. Does not: hold the report, only its digests.
"""

from __future__ import annotations

import datetime as dt

from ledger_core.audit.event_types import meaning_fault
from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.audit.set_asides import places_set_aside
from ledger_core.postgres.session import Session, session

EVENT_TYPE = "drill.completed"

NEWEST_SOUND = """
SELECT created_at, actor_id, payload, seq, hash FROM audit_events
 WHERE event_type = %s AND payload->>'sound' = 'true' ORDER BY seq DESC"""


def complete_drill(dsn: str, payload: dict[str, object], *, actor_id: str, trace_id: str) -> None:
    """Ask for the drill's place on the audit chain. Raises Refused, Unavailable."""
    with (
        session(dsn, application_name="finance drill") as connection,
        connection.transaction(),
        connection.cursor() as cursor,
    ):
        append_intent(cursor, AuditIntent(EVENT_TYPE, actor_id, payload, trace_id))


def newest_sound_drill(connection: Session) -> dt.datetime | None:
    """When the newest drill without a finding was chained; None when there was none. Events that mean nothing, or were
    set aside, are passed over."""
    aside = places_set_aside(connection)
    for created_at, actor_id, payload, seq, digest in connection.execute(NEWEST_SOUND, (EVENT_TYPE,)):
        if (seq, digest) not in aside and meaning_fault(EVENT_TYPE, actor_id, payload) is None:
            chained: dt.datetime = created_at
            return chained
    return None
