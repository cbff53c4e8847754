"""Events that operators set aside, as the database holds them, and the decision to set one aside.

Guarantees: the decision is one intent by an operator (`audit.set_aside`), and nothing else changes: the event stays on
the chain, and whoever reads it passes it over. What announces a range that this database holds is never set aside: it
is true, and the range could not be signed without it. Deciding twice changes nothing. Needs the grants of finance_api.
Does not: judge whether the event was forged; an operator does.
"""

from __future__ import annotations

from typing import Final

from ledger_core.audit.admission import checked_reason
from ledger_core.audit.event_types import SET_ASIDE
from ledger_core.audit.events import AuditEvent
from ledger_core.audit.set_aside import Place, named_place, set_aside_intent
from ledger_core.errors import Refused
from ledger_core.postgres.audit.notary_store import EVENT_COLUMNS, event_from_row
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.session import Session, session

DECIDED: Final = "SELECT seq, actor_id, payload FROM audit_events WHERE event_type = %s ORDER BY seq"
WAITS: Final = """
SELECT EXISTS (SELECT FROM audit_outbox
                WHERE event_type = %s AND payload->>'set_aside_seq' = %s AND payload->>'set_aside_hash' = %s)"""
HELD: Final = """
SELECT EXISTS (SELECT FROM ranges WHERE shard = %s AND range_no = %s AND encode(hash, 'hex') = %s)"""


def places_set_aside(connection: Session) -> frozenset[Place]:
    """The places of all events that are set aside."""
    rows = connection.execute(DECIDED, [SET_ASIDE])
    return frozenset(
        place for seq, actor_id, payload in rows if (place := named_place(seq, actor_id, payload)) is not None
    )


def set_aside(dsn: str, seq: int, *, reason: str, actor_id: str, trace_id: str) -> tuple[AuditEvent, bool]:
    """The event, and whether it is set aside by this decision, or was before (False). Raises Refused (no such event, or
    one that is true; words that are not for the chain), Unavailable."""
    reason = checked_reason(reason)
    with (
        session(dsn, application_name="finance audit set-aside") as connection,
        connection.transaction(),
        connection.cursor() as cursor,
    ):
        row = cursor.execute(f"SELECT {EVENT_COLUMNS} FROM audit_events WHERE seq = %s".encode(), [seq]).fetchone()
        if row is None:
            raise Refused(f"the audit chain has no event {seq}", remedy="see `finance audit replay --from db`")
        event = event_from_row(row)
        if event.event_type == SET_ASIDE:
            raise Refused(f"event {seq} is such a decision itself", remedy="it stands")
        if _is_true(connection, event):
            raise Refused(
                f"event {seq} announces a range that this database holds: it is true",
                remedy="nothing has to be set aside",
            )
        waits = cursor.execute(WAITS, (SET_ASIDE, str(seq), event.hash)).fetchone() == (True,)
        if waits or (seq, event.hash) in places_set_aside(connection):
            return event, False
        append_intent(cursor, set_aside_intent(event, reason, actor_id, trace_id))
        return event, True


def _is_true(connection: Session, event: AuditEvent) -> bool:
    shard, range_no, proof_hash = (event.payload.get(name) for name in ("shard", "range_no", "proof_hash"))
    if type(shard) is not int or not 0 <= shard < 2**31 or not isinstance(range_no, str) or not range_no.isdigit():
        return False
    if len(range_no) > 18 or not event.event_type.startswith("journal."):
        return False
    return connection.execute(HELD, (shard, int(range_no), proof_hash)).fetchone() == (True,)
