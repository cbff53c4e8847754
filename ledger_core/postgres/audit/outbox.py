"""State changes ask for their place on the audit chain here, inside the transaction that makes them.

Guarantees: an intent is on record exactly when the state change it speaks of is (one COMMIT for both). What could never
be chained, because it has no canonical form, is too long, is of no type on the list (`audit.event_types`) or contains
`<`, `>` or `&`, is refused before it is written: by these functions, and most of it by the database too.
Does not: chain, sign or publish anything; `consumers.audit.notary` alone does, and orders intents as it finds them.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from ledger_core import canonical
from ledger_core.audit.admission import admission_fault
from ledger_core.ports import AuditIntent

INSERT = "INSERT INTO audit_outbox (event_type, actor_id, payload, trace_id) VALUES (%s, %s, %s::jsonb, %s)"


def append_intent(cursor: psycopg.Cursor[object], intent: AuditIntent) -> None:
    """Write one intent into `audit_outbox` in the cursor's own transaction. Needs INSERT on audit_outbox only.

    Raises ValueError on an intent that cannot be chained (a programming error of the caller, never of its input),
    psycopg.Error as the connection gives it.
    """
    cursor.execute(INSERT, _row(intent))


def append_intents(cursor: psycopg.Cursor[object], intents: Sequence[AuditIntent]) -> None:
    """Write several intents in order, in one round trip. Raises as `append_intent`."""
    if intents:
        cursor.executemany(INSERT, [_row(intent) for intent in intents])


def _row(intent: AuditIntent) -> tuple[str, str, str, str]:
    fault = admission_fault(intent)
    if fault is not None:
        raise ValueError(f"audit intent: {fault}")
    return intent.event_type, intent.actor_id, canonical.encode(intent.payload).decode(), intent.trace_id
