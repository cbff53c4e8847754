"""The rules that need one record alone: decode, then draft. Pure: the same record gives the same decision."""

from __future__ import annotations

import hashlib
from typing import Final

from ledger_core.errors import Rejected, RejectReason
from ledger_core.ports import Record
from ledger_core.posting.plans import Decided, Rejection
from ledger_core.posting.rules import OCCURRED_AT_US_MAX, claimed_event_id, draft
from schemas.wire.settlements import decode_settlement

# A broker's own clock never comes near; a topic that is not LogAppendTime takes any number from a publisher.
TIMESTAMP_MS_MAX: Final = OCCURRED_AT_US_MAX // 1000


def decide(record: Record) -> Decided:
    """A draft of its entry, or the reason why there will be none."""
    fields = None
    try:
        if not 0 <= record.timestamp_ms <= TIMESTAMP_MS_MAX:
            raise Rejected(RejectReason.BAD_FIELD, f"the record's timestamp {record.timestamp_ms} ms is not a time")
        fields = decode_settlement(record.value)
        return Decided(record, draft(fields, record.key))
    except Rejected as rejected:
        event_id = None if fields is None else claimed_event_id(fields)
        digest = hashlib.sha256(record.value or b"").digest()
        return Decided(record, Rejection(rejected.reason, rejected.detail, event_id, digest))
