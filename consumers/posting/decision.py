"""The rules that need one record alone: decode, then draft. Pure: the same record gives the same decision."""

from __future__ import annotations

import hashlib
from typing import Final

from ledger_core.books.event_rules import check_recorded_at
from ledger_core.errors import Rejected, RejectReason
from ledger_core.ports import Record
from ledger_core.posting.plans import Decided, Rejection
from ledger_core.posting.rules import claimed_event_id, draft
from schemas.wire.settlements import decode_settlement

UNREADABLE_DETAIL: Final = "no reader can read what is there; set aside by a decision of an operator"


def set_aside(topic: str, shard: int, offset: int) -> Decided:
    """What an offset becomes that nothing can read: the same wherever it is decided, by the poster or at a replay."""
    nothing = Record(topic, shard, offset, 0, None, None)
    return Decided(nothing, Rejection(RejectReason.UNREADABLE, UNREADABLE_DETAIL, None, b""))


def decide(record: Record) -> Decided:
    """A draft of its entry, or the reason why there will be none."""
    fields = None
    try:
        check_recorded_at(record.timestamp_ms)
        fields = decode_settlement(record.value)
        return Decided(record, draft(fields, record.key))
    except Rejected as rejected:
        event_id = None if fields is None else claimed_event_id(fields)
        digest = hashlib.sha256(record.value or b"").digest()
        return Decided(record, Rejection(rejected.reason, rejected.detail, event_id, digest))
