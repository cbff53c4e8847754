"""State changes ask for their place on the audit chain here, inside the transaction that makes them.

Guarantees: an intent is on record exactly when the state change it speaks of is (one COMMIT for both). What could never
be chained, because it has no canonical form, is refused before it is written: it would block every later intent.
Does not: chain, sign or publish anything; `consumers.audit.notary` alone does, and orders intents as it finds them.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from ledger_core import canonical
from ledger_core.audit.events import check_intent
from ledger_core.ports import AuditIntent

EVENT_TYPE_BYTES_MAX = 100
ACTOR_ID_BYTES_MAX = 200
TRACE_ID_BYTES_MAX = 200
PAYLOAD_BYTES_MAX = 65_536  # one audit event must fit a Kafka message with room for its envelope

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
    check_intent(intent)  # a field that the chain writes itself would block every later intent
    payload = canonical.encode(intent.payload)
    for name, text, bytes_max in (
        ("event_type", intent.event_type, EVENT_TYPE_BYTES_MAX),
        ("actor_id", intent.actor_id, ACTOR_ID_BYTES_MAX),
        ("trace_id", intent.trace_id, TRACE_ID_BYTES_MAX),
    ):
        if len(text.encode()) > bytes_max:
            raise ValueError(f"audit intent: {name} of {len(text.encode())} bytes, at most {bytes_max}")
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"audit intent: payload of {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX}")
    return intent.event_type, intent.actor_id, payload.decode(), intent.trace_id
