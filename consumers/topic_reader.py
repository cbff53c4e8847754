"""Records of one partition at offsets that are asked for, read without joining a group.

Guarantees: what comes is asked for, in order of offset; an offset that the topic no longer holds (or that never held a
record) is passed over, and the caller sees that it did not come. Changes nothing on the broker.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumers.kafka_source import headers_of
from ledger_core.errors import Refused, Unavailable
from ledger_core.ports import Record

GROUP: Final = "finance-fill"  # never joined: the client wants a name
SILENCE_SECONDS_MAX: Final = 20.0
SEEK_OFFSETS_MIN: Final = 5_000  # nearer offsets are read over: a seek throws away what was fetched ahead
RECORDS_MAX: Final = 1_000


class TopicReader:
    """One client for several partitions, one after the other."""

    def __init__(self, brokers: str, options: Mapping[str, str] | None = None) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": GROUP,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "allow.auto.create.topics": False,
                "log_level": 2,
                **(options or {}),
            }
        )

    def records(self, topic: str, partition: int, offsets: Sequence[int]) -> Iterator[Record]:
        """The records at ascending `offsets`, as far as the topic holds them. Raises Unavailable, Refused."""
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        except KafkaException as error:
            raise Refused(
                f"{topic} [{partition}] cannot be read ({error.args[0].str()})",
                remedy="check KAFKA_BROKERS and FINANCE_TOPIC_PREFIX, or leave --fill-from-topic out",
            ) from error
        wanted = [offset for offset in offsets if low <= offset < high]
        at = 0
        while at < len(wanted):
            end = at + 1
            while end < len(wanted) and wanted[end] - wanted[end - 1] < SEEK_OFFSETS_MIN:
                end += 1
            yield from self._run(topic, partition, wanted[at:end])
            at = end

    def close(self) -> None:
        self._consumer.close()

    def _run(self, topic: str, partition: int, wanted: Sequence[int]) -> Iterator[Record]:
        """Read on from the first to the last offset of a run."""
        self._consumer.assign([TopicPartition(topic, partition, wanted[0])])
        asked, heard = set(wanted), time.monotonic()
        try:
            while True:
                messages = self._consumer.consume(RECORDS_MAX, 0.5)
                if messages:
                    heard = time.monotonic()
                elif self._position(topic, partition) > wanted[-1]:
                    return  # the last offsets hold no record: markers of a transaction
                elif time.monotonic() - heard > SILENCE_SECONDS_MAX:
                    raise Unavailable("kafka", f"{topic} [{partition}] says nothing at offset {wanted[0]}")
                for message in messages:
                    error, offset = message.error(), cast("int", message.offset())
                    if error is not None:
                        raise Unavailable("kafka", error.str())
                    if offset in asked:
                        time_ms = message.timestamp()[1]
                        headers = headers_of(message)
                        yield Record(topic, partition, offset, time_ms, message.key(), message.value(), headers)
                    if offset >= wanted[-1]:
                        return
        finally:
            self._consumer.unassign()

    def _position(self, topic: str, partition: int) -> int:
        return int(self._consumer.position([TopicPartition(topic, partition)])[0].offset)
