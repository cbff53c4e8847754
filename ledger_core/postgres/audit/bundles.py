"""The record of bundles for auditors: each one that was made is an event of the audit chain.

Guarantees: `record_bundle` writes one intent, in one transaction, as the role of operators: who made it, of which
window and filter, and its digests. Does not: hold the bundle, or say where it went.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.session import session

EVENT_TYPE: Final = "auditor.exported"


def record_bundle(dsn: str, payload: Mapping[str, object], *, actor_id: str, trace_id: str) -> None:
    """Ask for the bundle's place on the audit chain. Raises Refused, Unavailable."""
    with (
        session(dsn, application_name="finance export auditor") as connection,
        connection.transaction(),
        connection.cursor() as cursor,
    ):
        append_intent(cursor, AuditIntent(EVENT_TYPE, actor_id, dict(payload), trace_id))
