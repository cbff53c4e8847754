"""Writing audit events that were signed before back into `audit_events`.

Guarantees: the notary's lock is held, so no chain grows meanwhile; events and the intents they make superfluous go in
one transaction. Needs the owner. Does not: check events (`consumers.audit.restore` does).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg import errors

from ledger_core import canonical
from ledger_core.audit.event_types import RESERVED_FIELDS
from ledger_core.audit.events import AuditEvent
from ledger_core.errors import Refused
from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.notary_store import INSERT_EVENT, PostgresAuditStore
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.session import translated

# The event of an intent has its time, or one a little later (it must increase).
TAKE: Final = """
DELETE FROM audit_outbox WHERE outbox_id = (
    SELECT outbox_id FROM audit_outbox
     WHERE event_type = %s AND actor_id = %s AND trace_id = %s AND payload = %s::jsonb AND created_at <= %s
     ORDER BY outbox_id LIMIT 1)"""


class PostgresAuditRestoreStore(PostgresAuditStore):
    """`consumers.audit.restore.RestoreStore`, on the connection that holds the lock."""

    @translated()
    def restore(self, events: Sequence[AuditEvent]) -> int:
        """Put the events on the chain; how many intents of the outbox they had been made of. Raises Refused when one
        repeats an id or time of the chain."""
        taken = 0
        with self._connection.transaction(), self._connection.cursor() as cursor:
            try:
                cursor.executemany(INSERT_EVENT, [event.to_row() for event in events])
            except errors.UniqueViolation as error:
                raise Refused(
                    f"events {events[0].seq} to {events[-1].seq} repeat what stands on the chain once "
                    f"({error.diag.constraint_name})",
                    remedy="restore from another source; what was sound before them stands",
                ) from error
            if cursor.execute("SELECT 1 FROM audit_outbox LIMIT 1").fetchone() is None:
                return 0
            for event in events:
                payload = {name: value for name, value in event.payload.items() if name not in RESERVED_FIELDS}
                trace_id = event.payload.get("trace_id")
                text = canonical.encode(payload).decode()
                cursor.execute(TAKE, (event.event_type, event.actor_id, trace_id, text, event.created_at))
                taken += cursor.rowcount
        return taken

    @translated()
    def finish(self, published_seq: int, intent: AuditIntent | None) -> None:
        """Note what the topic holds, and ask for the event that says what was done."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(
                "UPDATE notary_cursor SET published_seq = %s WHERE published_seq < %s", (published_seq, published_seq)
            )
            if intent is not None:
                append_intent(cursor, intent)
