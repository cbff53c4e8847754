"""Whether the settlements topic is still the one its shards grew from, asked before the first record is read.

A topic that was deleted and made again under its name starts anew at offset 0. While it is shorter than before, Kafka
itself says that the cursor is out of range; once it is longer, reading on would pass over its first records in silence.
The newest posted entry knows its record's offset and append time (`recorded_at`), and no other record has both.

Guarantees: Refused unless the record of the newest entry stands where it stood; changes nothing.
Does not: notice what happens later (a deleted topic is an error of the reader's own), or judge a record that retention
has removed: then the low watermark says that the topic at least reached beyond it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from consumers.kafka.watermarks import Watermarks
from ledger_core.errors import Refused

REMEDY: Final = (
    "bring the topic back as it was (its records at their offsets with their times), or start a new ledger on a topic "
    "of another name; nothing was read or posted"
)
NewestSource = Callable[[int], tuple[int, int] | None]
"""shard -> (offset, append time in ms) of its newest entry's record; None while it has none."""


def checking(
    start_offset: Callable[[int], int],
    open_watermarks: Callable[[], Watermarks],
    topic: str,
    newest_source: NewestSource,
) -> Callable[[int], int]:
    """`start_offset` of a KafkaSource, refusing a partition of another topic than the shard grew from."""

    def checked(shard: int) -> int:
        offset = start_offset(shard)
        newest = newest_source(shard)
        if newest is not None:
            watermarks = open_watermarks()
            try:
                check_same_topic(watermarks, topic, shard, *newest)
            finally:
                watermarks.close()
        return offset

    return checked


def check_same_topic(watermarks: Watermarks, topic: str, shard: int, offset: int, timestamp_ms: int) -> None:
    """Raise Refused unless `offset` holds a record of `timestamp_ms`; Unavailable when Kafka does not say."""
    low, high = watermarks.bounds(topic, shard)
    if low > offset:
        return
    place = f"{topic} [{shard}] is not the topic that shard {shard} grew from"
    if high <= offset:
        raise Refused(f"{place}: it ends at offset {high}, and offset {offset} is posted", remedy=REMEDY)
    found = watermarks.message_at(topic, shard, offset)  # a broker too slow to answer does not prove another topic
    found_ms = found.timestamp()[1]
    if (found.offset(), found_ms) != (offset, timestamp_ms):
        raise Refused(
            f"{place}: the record at offset {offset} was appended at {timestamp_ms} ms, the one there now (offset "
            f"{found.offset()}) at {found_ms} ms",
            remedy=REMEDY,
        )
