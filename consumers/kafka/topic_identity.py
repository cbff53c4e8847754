"""Whether the settlements topic is still the one its shards grew from, asked before a record of it is decided.

A topic that was deleted and made again under its name starts anew at offset 0; one that was put back to an earlier
state goes on from there. While it is shorter than before, Kafka itself says that the cursor is out of range; once it is
longer, reading on would pass over records in silence. The database remembers the newest record that was read
(`ledger_core.posting.newest_record`), and no other record has its offset, time and content.

Guarantees: Refused unless that record stands where it stood; changes nothing.
Does not: notice a topic that is put back behind an open connection (`consumers.kafka.topic_watch` says when to ask
again), or judge a record that retention has removed: then the topic at least reached beyond it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from consumers.kafka.watermarks import Watermarks
from ledger_core.errors import Refused
from ledger_core.ports import NO_APPEND_TIME_MS
from ledger_core.posting.newest_record import NewestRecord, record_digest

REMEDY: Final = (
    "bring the topic back as it was (its records at their offsets with their times), or start a new ledger on a topic "
    "of another name; nothing was read or posted"
)
NewestSource = Callable[[int], NewestRecord | None]
"""shard -> the newest record that it has read; None while there is none."""


def identity_check(
    open_watermarks: Callable[[], Watermarks], topic: str, newest_source: NewestSource
) -> Callable[[int], None]:
    """What asks of a shard that its partition is the one it grew from. Raises Refused, Unavailable."""

    def check(shard: int) -> None:
        newest = newest_source(shard)
        if newest is None:
            return
        watermarks = open_watermarks()
        try:
            check_same_topic(watermarks, topic, shard, newest)
        finally:
            watermarks.close()

    return check


def checking(start_offset: Callable[[int], int], check: Callable[[int], None]) -> Callable[[int], int]:
    """`start_offset` of a KafkaSource, behind a check of the shard."""

    def checked(shard: int) -> int:
        offset = start_offset(shard)
        check(shard)
        return offset

    return checked


def check_same_topic(watermarks: Watermarks, topic: str, shard: int, newest: NewestRecord) -> None:
    """Raise Refused unless the record stands there; Unavailable when Kafka does not say."""
    low, high = watermarks.bounds(topic, shard)
    offset = newest.offset
    if low > offset:
        return
    place = f"{topic} [{shard}] is not the topic that shard {shard} grew from"
    if high <= offset:
        raise Refused(f"{place}: it ends at offset {high}, and offset {offset} was read", remedy=REMEDY)
    found = watermarks.message_at(topic, shard, offset)  # a broker too slow to answer does not prove another topic
    if found.offset() != offset:
        raise Refused(
            f"{place}: the record at offset {offset} is gone, the next is at {found.offset()}",
            remedy=REMEDY,
        )
    found_ms = found.timestamp()[1]
    if newest.timestamp_ms not in (found_ms, NO_APPEND_TIME_MS):
        raise Refused(
            f"{place}: the record at offset {offset} was appended at {newest.timestamp_ms} ms, the one there now at "
            f"{found_ms} ms",
            remedy=REMEDY,
        )
    if newest.digest not in (record_digest(found.key(), found.value()), None):
        raise Refused(f"{place}: the record at offset {offset} has another key or value now", remedy=REMEDY)
