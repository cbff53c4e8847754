"""What readers get of the topics we write: an entry of the journal, an outcome. Plain data; the codecs are compiled."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["posted", "duplicate", "rejected"]


class JournalRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of the journal topic. `entry_hash` has 32 bytes."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    seq: int  # of the entry, from 1
    body: bytes  # canonical JSON of the entry
    entry_hash: bytes


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one record of the settlements topic (`shard` = its partition, `offset` = its offset)."""

    event_id: str | None  # as far as it could be read
    settlement_id: str | None  # as decoded from the record or its key; None when that fails
    verdict: Verdict  # posted, duplicate or rejected
    reason: str | None  # code; None when posted
    detail: str | None  # for people; None when posted
    shard: int
    offset: int
    seq: int | None  # of the entry posted or repeated; None without one
    entry_hash: bytes | None  # SHA-256 of the body, 32 bytes; None unless posted
