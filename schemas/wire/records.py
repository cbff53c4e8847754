"""What readers get of the topics we write: an entry of the journal, an outcome. Plain data; the codecs are compiled."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["posted", "duplicate", "rejected"]


class JournalRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of the journal topic. `entry_hash` has 32 bytes."""

    shard: int
    seq: int
    body: bytes
    entry_hash: bytes


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one record of the settlements topic (`shard` = its partition, `offset` = its offset)."""

    event_id: str | None
    settlement_id: str | None
    verdict: Verdict
    reason: str | None
    detail: str | None
    shard: int
    offset: int
    seq: int | None
    entry_hash: bytes | None
