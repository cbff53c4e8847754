"""Reading one partition from an offset to a fixed end, without a group: what replay reads.

Guarantees: records come in offset order from the very offset asked for, each once, never beyond the end fixed at the
start; a lost beginning is Refused, and so are lost records in the middle where there is an `explain` (`group_source`).
A record whose time a publisher chose (the topic was not LogAppendTime when it came) has NO_APPEND_TIME_MS, as the
poster saw it (`append_times` False: where the time means nothing).
Does not: join a group, commit offsets, or follow the topic as it grows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final, cast

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, TopicPartition

from consumers.kafka.bounded_read import BoundedRead, headers_of
from consumers.kafka.client_settings import CONSUMER_DEFAULTS
from consumers.kafka.failures import LastComplaint, read_failure
from consumers.kafka.holes import Explain
from consumers.kafka.in_order import check_repeated
from ledger_core.errors import Unavailable, Unreadable
from ledger_core.ports import NO_APPEND_TIME_MS, Record
from schemas.authority.kafka_acls import ASKING_GROUP

SILENCE_SECONDS_MAX: Final = 30.0


class PartitionReader:
    """Records of `[offset, end_offset)` of one partition."""

    def __init__(
        self,
        brokers: str,
        topic: str,
        partition: int,
        offset: int,
        end_offset: int,
        options: Mapping[str, str] | None = None,
        *,
        append_times: bool = True,
        explain: Explain | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place = TopicPartition(topic, partition, offset)
        self._next = self._due = offset  # to be read next; after the newest record that was returned
        self._end = end_offset
        self._append_times = append_times
        self._explain = explain
        self._monotonic = monotonic
        self._complaint = LastComplaint()
        self._unreadable: Unreadable | None = None
        self._consumer = Consumer(
            {
                **CONSUMER_DEFAULTS,
                "group.protocol": "classic",  # the new one assigns by itself only
                "enable.partition.eof": True,  # trailing markers contain no record: the end must be reported
                **(options or {}),
                "bootstrap.servers": brokers,
                "group.id": ASKING_GROUP,  # never joined: the client wants a name, and this one may be described
                "error_cb": self._complaint,
                "logger": logging.getLogger("kafka.consumer"),
            }
        )
        self._read = BoundedRead(self._consumer.consume, monotonic)
        self._consumer.assign([self._place])

    @property
    def done(self) -> bool:
        """Everything below the end was returned."""
        return self._next >= self._end

    def read(self, records_max: int, linger_seconds: float = 0.05) -> list[Record]:
        """The next records, READ_BYTES_MAX bytes of them, at least one unless at the end. Raises Unavailable and
        Refused, and Unreadable where it gets no further, once everything before it was returned."""
        heard_at = self._monotonic()
        start = self._next
        while not self.done:
            if self._unreadable is not None:
                raise self._unreadable
            try:
                messages = self._read.read(records_max, linger_seconds)
            except KafkaException as error:
                raise read_failure(self._place.topic, error.args[0], self._complaint) from error
            records: list[Record] = []
            for message in messages:
                failed = message.error()
                if failed is not None:
                    if self._ends_here(failed, cast("int", message.offset())):
                        break
                    continue
                offset = cast("int", message.offset())
                if offset >= self._end:
                    self._next = self._end
                    break
                if offset < self._next:
                    place = f"{self._place.topic} [{self._place.partition}]"
                    check_repeated(place, offset, start, (record.offset for record in records))
                    continue
                kind, timestamp_ms = message.timestamp()
                if self._append_times and kind != TIMESTAMP_LOG_APPEND_TIME:
                    timestamp_ms = NO_APPEND_TIME_MS  # rejected, as the poster rejects it
                if self._explain is not None and offset > self._due:
                    self._explain(self._place.partition, self._due, offset)
                records.append(
                    Record(
                        self._place.topic,
                        self._place.partition,
                        offset,
                        timestamp_ms,
                        message.key(),
                        message.value(),
                        headers_of(message),
                    )
                )
                self._next = self._due = offset + 1
            if records:
                return records
            if messages:
                heard_at = self._monotonic()
            elif self._monotonic() - heard_at > SILENCE_SECONDS_MAX:
                raise Unavailable("kafka", f"{self._place.topic} [{self._place.partition}] sends nothing")
        return []

    def close(self) -> None:
        self._consumer.close()

    def _ends_here(self, error: KafkaError, offset: int) -> bool:
        """Whether it gets no further: then the next read raises Unreadable."""
        if error.code() == KafkaError._PARTITION_EOF:
            self._next = max(self._next, offset)
            return False
        failure = read_failure(self._place.topic, error, self._complaint, at=(self._place.partition, offset))
        if not isinstance(failure, Unreadable):
            raise failure
        self._unreadable = failure  # behind what stands before it
        return True

    def pass_over(self, end: int) -> None:
        """Read on at `end`: what stands before it is set aside."""
        self._unreadable = None
        self._next = self._due = end
        self._consumer.assign([TopicPartition(self._place.topic, self._place.partition, end)])
