"""The newest record that a shard has read, whatever became of it: what the topic must still have there. Pure.

A topic that was put back to an earlier state and filled anew may agree with the ledger up to the newest entry, and
differ behind it: in duplicates and rejections. So what is remembered is the newest record, not the newest entry.

Guarantees: a record of another key or value has another digest, whatever the bytes; None and empty differ.
Does not: cover headers, which are not content.
"""

from __future__ import annotations

import hashlib

import msgspec

from ledger_core.posting.plans import Plan


class NewestRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of the settlements partition, as far as it must be found again."""

    offset: int  # where it stands
    timestamp_ms: int  # its append time; NO_APPEND_TIME_MS when a publisher chose it, which is then not compared
    digest: bytes | None  # record_digest, 32 bytes; None where only the entry that was made of it is known


def record_digest(key: bytes | None, value: bytes | None) -> bytes:
    """SHA-256 over key and value, each behind its length."""
    parts = [b"-" if part is None else b"%d:" % len(part) + part for part in (key, value)]
    return hashlib.sha256(b"".join(parts)).digest()


def newest_record(plan: Plan) -> NewestRecord | None:
    """Of a plan's records the last one; None when it accounts for offsets without a record only."""
    newest = plan.posted[-1].record if plan.posted else None
    for verdict in reversed(plan.verdicts):
        if verdict.record is not None:
            if newest is None or verdict.offset > newest.offset:
                newest = verdict.record
            break
    if newest is None:
        return None
    return NewestRecord(newest.offset, newest.timestamp_ms, record_digest(newest.key, newest.value))
