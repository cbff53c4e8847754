"""The newest event on the audit topic: what was published binds whoever continues the chain.

Guarantees: changes nothing. Does not: verify the event: it is compared with one that was.
"""

from __future__ import annotations

from typing import Final

from consumers.watermarks import Watermarks
from ledger_core.audit_chain import AuditEvent
from ledger_core.errors import Refused

PARTITION: Final = 0  # one chain, one partition


def newest_published(watermarks: Watermarks, topic: str) -> AuditEvent | None:
    """None while the topic is empty. Raises Unavailable, and Refused for what is no audit event."""
    value = watermarks.newest(topic, PARTITION)
    if value is None:
        return None
    try:
        return AuditEvent.from_json(value)
    except ValueError as error:
        raise Refused(
            f"the newest record of {topic} is no audit event ({error})",
            remedy="find out who else writes to that topic; check the database alone with --without-topic",
        ) from error
