"""Reading a topic with a consumer group, from offsets that Postgres knows.

Guarantees: records of a partition come in offset order, each offset once (until the caller seeks back); only partitions
owned at the time of the return are returned; a partition starts at the offset that `start_offset` answers, whatever
Kafka's committed offsets say.
Does not: commit offsets for correctness, skip anything, or reset silently; a hole in the topic is an error.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import cast

import structlog
from confluent_kafka import (
    OFFSET_INVALID,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from consumers.kafka.bounded_read import BoundedRead, headers_of
from consumers.kafka.client_settings import CLASSIC_ONLY, CONSUMER_DEFAULTS
from consumers.kafka.failures import ALL_BROKERS_DOWN, LastComplaint, read_failure
from consumers.kafka.holes import Explain
from consumers.kafka.in_order import check_repeated
from consumers.kafka.positions import Positions
from consumers.kafka.topic_watch import TopicWatch
from ledger_core.errors import Unreadable
from ledger_core.ports import NO_APPEND_TIME_MS, Record

# Silence may be a quiet topic or a broker that hangs, of which librdkafka says nothing: a question follows it.
PROBE_SECONDS = 10.0
PROBE_TIMEOUT_SECONDS = 5.0
# librdkafka's close tries each commit again for as long as no broker answers (its issue 3740).
CLOSE_SECONDS_MAX = 5.0

log = structlog.get_logger("kafka")


class KafkaSource:
    """A member of a consumer group on one topic.

    `start_offset(partition)` is called on assignment and answers the offset to read first; `on_revoked(partition)` is
    called when a partition goes, and must forget what it holds for it. Both run inside `poll`.
    `check_append_times`, where a record's time is asked of the broker alone, is called when one has another kind of
    time: it raises Refused while the topic takes such times; later, such a record comes with NO_APPEND_TIME_MS.
    `watch` says when the topic is compared again with what it must be; `explain` is called for offsets without a
    committed record, before what stands behind them is returned: it raises Refused when records were lost there.
    """

    def __init__(
        self,
        brokers: str,
        topic: str,
        group: str,
        start_offset: Callable[[int], int],
        on_revoked: Callable[[int], None],
        options: Mapping[str, str] | None = None,
        *,
        check_append_times: Callable[[], None] | None = None,
        watch: TopicWatch | None = None,
        explain: Explain | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        config: dict[str, str | int | bool] = {**CONSUMER_DEFAULTS, **(options or {})}
        if config["group.protocol"] == "classic":
            config = {**CLASSIC_ONLY, **config}
        self._topic = topic
        self._start_offset = start_offset
        self._on_revoked = on_revoked
        self._owned: set[int] = set()
        self._positions = Positions()
        self._noted: dict[int, int] = {}
        self._callback_error: Exception | None = None
        self._unreadable: dict[int, Unreadable] = {}  # where a partition cannot be read on; raised by the next poll
        self._check_append_times, self._watch, self._explain = check_append_times, watch, explain
        self._monotonic, self._heard_at = monotonic, monotonic()
        self._brokers_down = False
        self._complaint = LastComplaint()
        self._consumer = Consumer(
            {
                **config,
                "bootstrap.servers": brokers,
                "group.id": group,
                "error_cb": self._on_error,
                "logger": logging.getLogger("kafka.consumer"),  # the process's own form, not raw text on stderr
            },
        )
        self._read = BoundedRead(self._consumer.consume, monotonic)
        self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    @property
    def owned(self) -> frozenset[int]:
        return frozenset(self._owned)

    def poll(self, records_max: int, timeout_seconds: float) -> list[tuple[int, list[Record]]]:
        """Up to `records_max` records of READ_BYTES_MAX bytes, grouped by partition. The timeout is a linger: it is
        waited out unless full.

        Raises Unavailable when the brokers do not answer, Refused when the topic no longer holds the offset asked for,
        Unreadable where no reader gets on, once everything before it was returned: `pass_over`, or `seek`, goes on.
        """
        if self._unreadable:
            raise self._unreadable.pop(min(self._unreadable))
        try:
            messages = self._read.read(records_max, timeout_seconds)
        except KafkaException as error:
            raise read_failure(self._topic, error.args[0], self._complaint) from error
        if (failed := self._callback_error) is not None:
            self._callback_error = None
            raise failed
        if messages:
            self._heard_at = self._monotonic()
        elif self._brokers_down or self._monotonic() - self._heard_at >= PROBE_SECONDS:
            self._probe()
        groups = self._grouped(messages)
        if self._watch is not None:
            self._watch.handing_out(partition for partition, _ in groups)
            self._watch.passing(self._owned)
        return groups

    def _probe(self) -> None:
        """Ask for the topic. Raises Unavailable when nobody answers, Refused when it is gone."""
        self._brokers_down = False
        try:
            found = self._consumer.list_topics(self._topic, timeout=PROBE_TIMEOUT_SECONDS).topics[self._topic]
        except KafkaException as error:
            raise read_failure(self._topic, error.args[0], self._complaint) from error
        if found.error is not None:
            raise read_failure(self._topic, found.error, self._complaint)
        self._heard_at = self._monotonic()

    def _grouped(self, messages: list[Message]) -> list[tuple[int, list[Record]]]:
        groups: dict[int, list[Record]] = {}
        ends: dict[int, int] = {}
        due: dict[int, int] = {}
        topic, asks = self._topic, self._check_append_times is not None
        for message in messages:
            error = message.error()
            partition, offset = cast("int", message.partition()), cast("int", message.offset())
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    self._failed(error, partition, offset)
                    continue
                ends[partition] = offset
                continue
            if partition not in self._owned or partition in self._unreadable:
                continue  # consume may return what was revoked during the call
            group = groups.get(partition)
            if group is None:
                group = groups[partition] = []
                due[partition] = self._positions.due(partition)
            if offset < due[partition]:
                start, taken = self._positions.due(partition), (it.offset for it in group)
                check_repeated(f"{topic} [{partition}]", offset, start, taken)
                continue
            due[partition] = offset + 1
            kind, timestamp_ms = message.timestamp()
            if asks and kind != TIMESTAMP_LOG_APPEND_TIME:
                timestamp_ms = self._no_append_time(partition)
            content = message.key(), message.value(), headers_of(message)
            group.append(Record(topic, partition, offset, timestamp_ms, *content))
        for partition, group in groups.items():
            if not group:
                continue
            if self._explain is not None:
                for first, end in self._positions.gaps(partition, group):
                    self._explain(partition, first, end)
            self._positions.took(partition, group[-1].offset)
        for partition, offset in ends.items():
            self._positions.ended(partition, offset)
            if partition in self._noted:
                self._note(partition, self._noted[partition])
        return [(partition, group) for partition, group in groups.items() if group]

    def _failed(self, error: KafkaError, partition: int, offset: int) -> None:
        """Remember what no reader can read; raise anything else."""
        failure = read_failure(self._topic, error, self._complaint, at=(partition, offset))
        if not isinstance(failure, Unreadable):
            raise failure
        if partition in self._owned:
            self._unreadable[partition] = failure

    def _no_append_time(self, partition: int) -> int:
        """A publisher dated the record. Raises Refused while the topic lets publishers do so."""
        if self._check_append_times is not None:
            self._check_append_times()
        log.warning("kafka.no_append_time", topic=self._topic, partition=partition)
        return int(NO_APPEND_TIME_MS)

    def pass_over(self, partition: int, first: int, end: int) -> None:
        """As `RecordSource.pass_over`. Raises Refused, Unavailable."""
        due = self._positions.due(partition)
        if self._explain is not None and due < first:
            self._explain(partition, due, first)
        self.seek(partition, end)

    def seek(self, partition: int, offset: int) -> None:
        """Read `partition` from `offset` next; what was fetched ahead is dropped."""
        self._unreadable.pop(partition, None)
        try:
            self._consumer.seek(TopicPartition(self._topic, partition, offset))
        except KafkaException as error:
            raise read_failure(self._topic, error.args[0], self._complaint) from error
        self._positions.start(partition, offset)

    def pause(self, partition: int) -> None:
        self._consumer.pause([TopicPartition(self._topic, partition)])

    def resume(self, partition: int) -> None:
        self._consumer.resume([TopicPartition(self._topic, partition)])

    def waiting(self, partition: int, next_offset: int) -> int | None:
        """As `RecordSource.waiting`, as of the last fetch."""
        high = int(self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)[1])
        return self._positions.waiting(partition, next_offset, high) if high >= 0 else None

    def passed(self, partition: int, next_offset: int) -> int:
        """As `RecordSource.passed`, as of the last poll. What cannot be read is passed by nobody."""
        return next_offset if partition in self._unreadable else self._positions.passed(partition, next_offset)

    def note_done(self, partition: int, next_offset: int) -> None:
        """Commit how far we are to Kafka: for its lag tools only, never read back; see `passed`."""
        if partition in self._owned:
            self._noted.pop(partition, None)
            self._note(partition, next_offset)

    def _note(self, partition: int, next_offset: int) -> None:
        done = self._positions.passed(partition, next_offset)
        if self._noted.get(partition) != done:
            self._noted[partition] = done
            with suppress(KafkaException):  # a figure for tools: no reason to stop
                self._consumer.commit(offsets=[TopicPartition(self._topic, partition, done)], asynchronous=True)

    def close(self) -> None:
        """Leave the group, so that another member takes over at once; wait for the brokers up to CLOSE_SECONDS_MAX.

        A member that is left behind ends by itself once they answer."""
        leaving = threading.Thread(target=self._leave, name="kafka close", daemon=True)
        leaving.start()
        leaving.join(CLOSE_SECONDS_MAX)
        if leaving.is_alive():
            self._on_revoked = lambda _partition: None  # what this one held may be another one's by then
            log.warning("kafka.left_behind", topic=self._topic, seconds=CLOSE_SECONDS_MAX)

    def _leave(self) -> None:
        try:
            self._consumer.close()
        except KafkaException as error:
            log.warning("kafka.close_failed", topic=self._topic, error=str(error))

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == ALL_BROKERS_DOWN:
            self._brokers_down = True  # perhaps reported along with records fetched before: the next silence asks
        if self._watch is not None:
            self._watch.broken(self._owned)
        self._complaint(error)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._read.forget({partition.partition for partition in partitions})
        starts = []
        try:
            if self._watch is not None:
                self._watch.assigned(partition.partition for partition in partitions)
            for partition in partitions:
                offset = self._start_offset(partition.partition)
                starts.append(TopicPartition(self._topic, partition.partition, offset))
        except Exception as error:  # an exception cannot cross the C callback: poll raises it
            self._callback_error = error
            starts = [TopicPartition(self._topic, p.partition, OFFSET_INVALID) for p in partitions]
            consumer.incremental_assign(starts)
            consumer.pause(starts)
            return
        consumer.incremental_assign(starts)
        for start in starts:
            self._positions.start(start.partition, start.offset)
            self._owned.add(start.partition)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._read.forget({partition.partition for partition in partitions})
        for partition in partitions:
            self._owned.discard(partition.partition)
            self._unreadable.pop(partition.partition, None)
            self._positions.forget(partition.partition)
            self._noted.pop(partition.partition, None)
            if self._watch is not None:
                self._watch.forget(partition.partition)
            try:
                self._on_revoked(partition.partition)
            except Exception as error:
                self._callback_error = error
        consumer.incremental_unassign(partitions)
