"""A small audit chain made by hand."""

from __future__ import annotations

import datetime as dt

from ledger_core.audit import events as audit_chain
from ledger_core.audit.events import AuditEvent
from ledger_core.ports import AuditIntent
from tests.support.archive_factory import Key

CREATED_AT = dt.datetime(2025, 11, 1, 12, 0, 0, 123, tzinfo=dt.UTC)


def audit_events(key: Key, count: int = 4) -> list[AuditEvent]:
    """A chain of `count` events, all asked for at the same moment."""
    prev, events = None, []
    for number in range(count):
        payload: dict[str, object] = {"shard": 0, "range_no": str(number), "proof_hash": "ab" * 32}
        intent = AuditIntent("journal.adopted", "service:prover", payload, "ab" * 16)
        unsigned = audit_chain.next_event(prev, intent, event_id=f"event-{number}", created_at=CREATED_AT)
        signer = key.registry.get(key.kid)
        events.append(unsigned.signed(key.sign_digest(unsigned.digest), signer))
        prev = unsigned
    return events
