"""The rules that need one record alone: decode, then draft. Pure: the same record gives the same decision."""

from __future__ import annotations

import hashlib

from ledger_core.books.event_rules import check_recorded_at
from ledger_core.errors import Rejected
from ledger_core.ports import Record
from ledger_core.posting.plans import Decided, Rejection
from ledger_core.posting.rules import claimed_event_id, draft
from schemas.wire.settlements import decode_settlement


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
