"""How much waits in a topic, asked of Kafka without joining a group.

Guarantees: changes nothing on the broker; answers within `TIMEOUT_SECONDS` or raises Unavailable.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumers.kafka.failures import LastComplaint, read_failure
from ledger_core.errors import FinanceError, Unavailable
from schemas.authority.kafka_acls import ASKING_GROUP

TIMEOUT_SECONDS = 5.0
ASK_AGAIN_SECONDS: Final = 0.05

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
                "allow.auto.create.topics": False,
                "log_level": 2,  # the failure comes back as an error: librdkafka need not print it too
                "error_cb": self._complaint,
                **(options or {}),
            }
        )

    def high(self, topic: str, partition: int) -> int:
        """The offset after the newest record."""
        return self.bounds(topic, partition)[1]

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The offset of the oldest record that is kept, and the one after the newest."""
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

    def timestamp_ms(self, topic: str, partition: int, offset: int) -> int | None:
        """The time of the first record at or after `offset`; None when there is none (yet)."""
        message = self._first_from(topic, partition, offset)
        return None if message is None else int(message.timestamp()[1])

    def newest(self, topic: str, partition: int) -> bytes | None:
        """The value of the newest record; None when the partition is empty."""
        high = self.high(topic, partition)
        return None if high == 0 else self.message_at(topic, partition, high - 1).value()

    def message_at(self, topic: str, partition: int, offset: int) -> Message:
        """The first record at or after an offset that the partition holds."""
        message = self._first_from(topic, partition, offset)
        if message is None:
            raise Unavailable("kafka", f"{topic} [{partition}]: the record at offset {offset} cannot be read")
        return message

    def tail(self, topic: str, partition: int, records_max: int) -> list[Message]:
        """The newest records in order, at most so many offsets back; none of an empty partition."""
        low, high = self.bounds(topic, partition)
        start = max(low, high - records_max)
        found: list[Message] = []
        try:
            self._consumer.assign([TopicPartition(topic, partition, start)])
            while start < high:
                messages = self._consumer.consume(high - start, TIMEOUT_SECONDS)
                error = next((error for message in messages if (error := message.error()) is not None), None)
                if error is not None:
                    raise KafkaException(error)
                if not messages:
                    raise Unavailable("kafka", f"{topic} [{partition}]: the records from offset {start} do not come")
                found += messages
                start = cast("int", messages[-1].offset()) + 1
            self._consumer.unassign()
        except KafkaException as failure:
            raise self._failure(topic, failure) from failure
        return found

    def close(self) -> None:
        self._consumer.close()

    def _first_from(self, topic: str, partition: int, offset: int) -> Message | None:
        try:
            self._consumer.assign([TopicPartition(topic, partition, offset)])
            message = self._consumer.poll(TIMEOUT_SECONDS)
            self._consumer.unassign()
        except KafkaException as error:
            raise self._failure(topic, error) from error
        return None if message is None or message.error() is not None else message

    def _failure(self, topic: str, error: KafkaException) -> FinanceError:
        return read_failure(topic, error.args[0], self._complaint, doing=f"ask as group {ASKING_GROUP}")
