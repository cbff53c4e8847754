"""How far journal, outcomes and dead letters of a shard were published, read off the ends of the topics.

Guarantees: what it answers is never more than was published. The relay publishes in order of offset and every topic
keeps that order, so the newest record of a topic speaks for all before it. A journal whose oldest or newest record is
another entry than the archive's is refused: it is not this ledger's.
Does not: read the topics through, or publish.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from confluent_kafka import Message

from consumers.posting.relay import RelayTopics
from ledger_core.errors import Corrupt, Refused
from ledger_core.recovery.published import Published
from schemas.wire.journal import decode_journal
from schemas.wire.outcomes import decode_outcome
from schemas.wire.records import JournalRecord

OFFSET_HEADER = "finance.offset"  # of a dead letter (consumers.posting.relay)


class Ends(Protocol):
    """The part of `consumers.kafka.watermarks.Watermarks` that is asked."""

    def bounds(self, topic: str, partition: int) -> tuple[int, int]: ...

    def message_at(self, topic: str, partition: int, offset: int) -> Message: ...

    def newest(self, topic: str, partition: int) -> Message | None: ...


def look(
    ends: Ends, topics: RelayTopics, shard: int, archived_seq: int, archived_hash: Callable[[int], bytes | None]
) -> Published:
    """What the topics hold of a shard whose archive ends at `archived_seq`.

    `archived_hash`: of an entry up to there, or None where it cannot be known. A journal that begins after the entry
    which is needed next (it was made anew, and its beginning never published) counts as empty: everything is published
    again behind what it holds. Raises Refused, Unavailable, Corrupt.
    """
    low, high = _bounds(ends, topics.journal, shard)
    first = newest = 0
    last = ends.newest(topics.journal, shard) if low < high else None
    if last is not None:
        seqs = []
        for message in (ends.message_at(topics.journal, shard, low), last):
            record = _journal_record(message, shard)
            archived = archived_hash(record.seq) if record.seq <= archived_seq else None
            if archived not in (None, record.entry_hash):
                raise Refused(
                    f"{topics.journal} [{shard}] has another entry at seq {record.seq} than the archive",
                    remedy="check KAFKA_BROKERS and FINANCE_TOPIC_PREFIX: that is the journal of another ledger",
                )
            seqs.append(record.seq)
        first, newest = seqs[0], seqs[-1]
    outcome = _outcome_offset(ends, topics.outcomes, shard)
    dead_letter = _dead_letter_offset(ends, topics.dead_letters, shard)
    if not newest or first > archived_seq + 1:
        return Published(0, 1, high, high, outcome, dead_letter)
    return Published(newest, first, low, high, outcome, dead_letter)


def _bounds(ends: Ends, topic: str, shard: int) -> tuple[int, int]:
    """A topic that is gone holds nothing."""
    try:
        return ends.bounds(topic, shard)
    except Refused:
        return 0, 0


def _journal_record(message: Message, shard: int) -> JournalRecord:
    record = decode_journal(message.value() or b"")
    if record.shard != shard:
        raise Corrupt(f"partition {shard} of the journal has an entry of shard {record.shard}")
    return record


def _outcome_offset(ends: Ends, topic: str, shard: int) -> int | None:
    low, high = _bounds(ends, topic, shard)
    newest = ends.newest(topic, shard) if low < high else None
    if newest is None:
        return None if high else 0  # emptied by its retention, or never written
    return decode_outcome(newest.value() or b"").offset + 1


def _dead_letter_offset(ends: Ends, topic: str, shard: int) -> int | None:
    low, high = _bounds(ends, topic, shard)
    newest = ends.newest(topic, shard) if low < high else None
    if newest is None:
        return None if high else 0
    headers = dict(newest.headers() or ())
    value = headers.get(OFFSET_HEADER)
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else ""
    return int(text) + 1 if text.isdigit() else 0
