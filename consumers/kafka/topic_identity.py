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

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Final

from confluent_kafka import Message

from consumers.kafka.watermarks import Watermarks
from ledger_core.errors import Refused, Unavailable
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
) -> Callable[[Sequence[int]], None]:
    """What asks of shards that their partitions are those they grew from. Raises Refused, Unavailable."""

    def check(shards: Sequence[int]) -> None:
        newest = {shard: record for shard in shards if (record := newest_source(shard)) is not None}
        if newest:
            with closing(open_watermarks()) as watermarks:
                for fault in topic_faults(watermarks, topic, newest).values():
                    raise fault

    return check


def check_same_topic(watermarks: Watermarks, topic: str, shard: int, newest: NewestRecord) -> None:
    """Raise Refused unless the record stands there; Unavailable when Kafka does not say."""
    for fault in topic_faults(watermarks, topic, {shard: newest}).values():
        raise fault


def topic_faults(watermarks: Watermarks, topic: str, newest: Mapping[int, NewestRecord]) -> dict[int, Refused]:
    """Why a shard's record does not stand there, of each shard of which it does not: one pass for all. Raises
    Unavailable when Kafka does not say."""
    bounds = {shard: watermarks.bounds(topic, shard) for shard in newest}
    asked = {shard: record for shard, record in newest.items() if bounds[shard][0] <= record.offset}
    spans = {shard: (record.offset, bounds[shard][1]) for shard, record in asked.items()}
    found = watermarks.first_of_each(topic, spans)
    faults: dict[int, Refused] = {}
    for shard, record in asked.items():
        try:
            _check(topic, shard, record, bounds[shard][1], found.get(shard))
        except Refused as fault:
            faults[shard] = fault
    return faults


def _check(topic: str, shard: int, newest: NewestRecord, high: int, found: Message | None) -> None:
    offset = newest.offset
    place = f"{topic} [{shard}] is not the topic that shard {shard} grew from"
    if high <= offset:
        raise Refused(f"{place}: it ends at offset {high}, and offset {offset} was read", remedy=REMEDY)
    if found is None:  # a broker that does not give it does not prove another topic
        raise Unavailable("kafka", f"{topic} [{shard}]: the record at offset {offset} cannot be read")
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
