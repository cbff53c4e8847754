"""How far a topic goes and what stands at its ends, asked of Kafka without joining a group.

Guarantees: changes nothing on the broker; answers within `TIMEOUT_SECONDS` or raises Unavailable.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumers.kafka.bounded_read import FETCH_LIMITS
from consumers.kafka.failures import CANNOT_UNPACK, LastComplaint, read_failure
from ledger_core.errors import FinanceError, Unavailable
from schemas.authority.kafka_acls import ASKING_GROUP

TIMEOUT_SECONDS = 5.0
ASK_AGAIN_SECONDS: Final = 0.05
LOOK_BACK_FACTOR: Final = 16
FETCH_WAIT_MS: Final = 10  # of a broker with nothing new: the question for the next partition waits behind it

# A partition that is just made, or just moved: its leader answers in a moment, and the client does not ask again.
_LEADER_MOVES: Final = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
)


class Watermarks:
    """One client for several questions. Every method raises Unavailable, and Refused or Corrupt for what
    waiting cannot mend (`consumers.kafka.failures`)."""

    def __init__(self, brokers: str, options: Mapping[str, str] | None = None) -> None:
        self._complaint = LastComplaint()
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": ASKING_GROUP,  # never joined: the client wants a name
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,  # the end may hold no record: the broker must say where it is
                "allow.auto.create.topics": False,
                **FETCH_LIMITS,
                "fetch.wait.max.ms": FETCH_WAIT_MS,
                "log_level": 2,  # the failure comes back as an error: librdkafka need not print it too
                "error_cb": self._complaint,
                **(options or {}),
            }
        )

    def high(self, topic: str, partition: int) -> int:
        """The offset after the newest that can be read, perhaps of no record."""
        return self.bounds(topic, partition)[1]

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The oldest offset that is kept, and the one after the newest that can be read (before open transactions)."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            left_seconds = max(deadline - time.monotonic(), ASK_AGAIN_SECONDS)
            try:
                answer = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=left_seconds)
                break
            except KafkaException as error:
                if error.args[0].code() not in _LEADER_MOVES or time.monotonic() >= deadline:
                    raise self._failure(topic, error) from error
            time.sleep(ASK_AGAIN_SECONDS)
        if answer is None:
            raise Unavailable("kafka", f"no answer within {TIMEOUT_SECONDS:g} s")
        return int(answer[0]), int(answer[1])

    def leader(self, topic: str, partition: int) -> tuple[str, int]:
        """Host and port of the broker that leads the partition."""
        try:
            cluster = self._consumer.list_topics(topic, timeout=TIMEOUT_SECONDS)
        except KafkaException as error:
            raise self._failure(topic, error) from error
        found = cluster.topics[topic]
        if found.error is not None:
            raise self._failure(topic, KafkaException(found.error))
        broker = cluster.brokers.get(found.partitions[partition].leader) if partition in found.partitions else None
        if broker is None:
            raise Unavailable("kafka", f"{topic} [{partition}] has no leader")
        return broker.host, broker.port

    def newest(self, topic: str, partition: int) -> Message | None:
        """The newest record; None when the partition holds none. It may stand far before the end: markers of
        transactions and aborted records are offsets without a record."""
        low, high = self.bounds(topic, partition)
        back = 1
        while low < high:
            start = max(low, high - back)
            found = deque(self._read(topic, partition, start, high), maxlen=1)
            if found:
                return found[0]
            high, back = start, back * LOOK_BACK_FACTOR
        return None

    def first_from(self, topic: str, partition: int, offset: int) -> Message | None:
        """The first record at or after an offset that the partition holds; None when there is none (yet)."""
        with closing(self._read(topic, partition, offset, self.high(topic, partition))) as records:
            return next(records, None)

    def message_at(self, topic: str, partition: int, offset: int) -> Message:
        """The same, where there must be one."""
        message = self.first_from(topic, partition, offset)
        if message is None:
            raise Unavailable("kafka", f"{topic} [{partition}]: the record at offset {offset} cannot be read")
        return message

    def records(self, topic: str, partition: int) -> Generator[Message]:
        """Every record that the partition holds now, in order."""
        low, high = self.bounds(topic, partition)
        return self._read(topic, partition, low, high)

    def windows_back(self, topic: str, partition: int, offsets: int) -> Iterator[list[Message]]:
        """The records of the newest `offsets` offsets, in order, then those of the offsets before them, and so on; an
        offset may hold none."""
        low, end = self.bounds(topic, partition)
        while low < end:
            start = max(low, end - offsets)
            yield list(self._read(topic, partition, start, end))
            end = start

    def newest_windows(self, topic: str, partitions: Iterable[int], offsets: int) -> Generator[Message]:
        """Of each partition the records of the newest `offsets` offsets that hold any (offsets without a record stand
        behind them, perhaps), in order within it: one pass for all of them."""
        bounds = {partition: self.bounds(topic, partition) for partition in partitions}
        ends = {partition: high for partition, (_, high) in bounds.items()}
        while spans := {
            partition: (max(bounds[partition][0], end - offsets), end)
            for partition, end in ends.items()
            if bounds[partition][0] < end
        }:
            silent = set(spans)
            for message in self._read_each(topic, spans, first_only=False):
                silent.discard(cast("int", message.partition()))
                yield message
            ends = {partition: spans[partition][0] for partition in silent}

    def first_of_each(self, topic: str, spans: Mapping[int, tuple[int, int]]) -> dict[int, Message]:
        """Of each partition the first record of offsets `[from, to)`, as far as there is one that can be read: one pass
        for all."""
        found = self._read_each(topic, spans, first_only=True)
        return {cast("int", message.partition()): message for message in found}

    def close(self) -> None:
        self._consumer.close()

    def _read_each(self, topic: str, spans: Mapping[int, tuple[int, int]], *, first_only: bool) -> Generator[Message]:
        ends = {partition: end for partition, (start, end) in spans.items() if start < end}
        places = [TopicPartition(topic, partition, spans[partition][0]) for partition in ends]
        try:
            self._consumer.assign(places)
            while ends:
                message = self._consumer.poll(TIMEOUT_SECONDS)
                if message is None:
                    raise Unavailable("kafka", f"{topic}: the records of {len(ends)} partitions do not come")
                partition, offset, error = (
                    cast("int", message.partition()),
                    cast("int", message.offset()),
                    message.error(),
                )
                if partition not in ends:
                    continue
                if error is not None and error.code() == CANNOT_UNPACK:
                    del ends[partition]  # nobody reads on there, and the other partitions are asked for all the same
                    self._consumer.pause([TopicPartition(topic, partition)])
                    continue
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                wanted = error is None and offset < ends[partition]
                if wanted:
                    yield message
                if offset + int(wanted) >= ends[partition] or (wanted and first_only):
                    del ends[partition]
                    self._consumer.pause([TopicPartition(topic, partition)])
        except KafkaException as failure:
            raise self._failure(topic, failure) from failure
        finally:
            self._consumer.resume(places)  # else the client gives nothing of them when they are asked for again
            self._consumer.unassign()

    def _read(self, topic: str, partition: int, start: int, end: int) -> Generator[Message]:
        """The records of offsets `[start, end)`; none where these hold none. `end` at most the end of the topic."""
        try:
            self._consumer.assign([TopicPartition(topic, partition, start)])
            while start < end:
                message = self._consumer.poll(TIMEOUT_SECONDS)
                if message is None:
                    raise Unavailable("kafka", f"{topic} [{partition}]: the records from offset {start} do not come")
                error, offset = message.error(), cast("int", message.offset())
                if error is None:
                    start = offset + 1
                    if offset < end:
                        yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    start = offset
                else:
                    raise KafkaException(error)
        except KafkaException as failure:
            raise self._failure(topic, failure) from failure
        finally:
            self._consumer.unassign()

    def _failure(self, topic: str, error: KafkaException) -> FinanceError:
        return read_failure(topic, error.args[0], self._complaint, doing=f"ask as group {ASKING_GROUP}")
