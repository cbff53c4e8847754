"""How far the audit chain reaches on its topic: what was published binds whoever continues the chain.

Guarantees: changes nothing. A notary that was killed, or frozen, while it published leaves repeats at the end of the
topic, which are older than what stands before them: so the furthest event counts, not the last one.
Does not: verify the event (it is compared with one that was), or read further back than TAIL_RECORDS: ten notaries
would have to die in a row, each in the middle of a whole batch.
"""

from __future__ import annotations

from typing import Final

import structlog

from consumers.kafka.watermarks import Watermarks
from ledger_core.audit.events import AuditEvent
from ledger_core.errors import Refused

PARTITION: Final = 0  # one chain, one partition
TAIL_RECORDS: Final = 2_000

log: Final = structlog.get_logger("published")


def newest_published(watermarks: Watermarks, topic: str) -> AuditEvent | None:
    """The furthest event of the chain that the topic holds; None while it is empty.

    Raises Unavailable, and Refused when the last record is not an audit event; one further back is skipped and logged.
    """
    furthest: AuditEvent | None = None
    messages = watermarks.tail(topic, PARTITION, TAIL_RECORDS)
    for message in messages:
        try:
            event = AuditEvent.from_json(message.value() or b"")
        except ValueError as error:
            if message is messages[-1]:
                raise Refused(
                    f"the newest record of {topic} is not an audit event ({error})",
                    remedy="find out who else writes to that topic; check the database alone with --without-topic",
                ) from error
            log.warning("published.foreign", place=f"{topic} (offset {message.offset()})", detail=str(error))
            continue
        if furthest is None or event.seq > furthest.seq:
            furthest = event
    return furthest
