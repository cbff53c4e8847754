"""Records leave for Kafka here: in order per partition, without repeats from retries, and never silently lost.

Guarantees. One idempotent producer, acks=all: within a partition records stand in the order of `publish`, each once for
each call. The barrier is `flush`: it returns only when every record published so far was acknowledged by the brokers.

The first failure is final: the publisher then raises it from every call, because the order has a hole. The caller
starts again from what Postgres says was published, with a new publisher; consumers skip the repeats.
Does not: make a repeat of a *process* disappear (records are at least once), choose partitions, create topics, or
serve more than one thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ledger_core.errors import FinanceError, Refused, Unavailable

Headers = Sequence[tuple[str, bytes | None]]

ROOM_WAIT_SECONDS_MAX: Final = 30.0  # how long `publish` waits for room in a full queue
ROOM_POLL_SECONDS: Final = 0.05

_DEFAULTS: Final[dict[str, str | int | bool]] = {
    "enable.idempotence": True,
    "acks": "all",
    "partitioner": "murmur2_random",  # as Java does; ours are explicit, but a stray -1 must not go elsewhere
    "compression.type": "snappy",  # as the journal lies at the brokers: they need not pack it anew
    "linger.ms": 5,
    "message.timeout.ms": 30_000,  # from publish to failure: retries go on for that long
    "message.max.bytes": 2_200_000,  # above the largest topic's message_bytes_max: the broker decides
    "batch.size": 1_000_000,  # and below the smallest one's
    "reconnect.backoff.max.ms": 2000,  # found again soon after an outage
    "log_level": 2,  # its connection failures come as Unavailable with the last error; the service logs them once
    "queue.buffering.max.kbytes": 65_536,  # the memory bound of a process whose broker is away
    "topic.metadata.propagation.max.ms": 10_000,  # then an unknown topic is a fault to name, no longer a slow broker
}

# What waiting cannot mend: error code -> remedy.
_REMEDIES: Final[dict[int, str]] = {
    KafkaError.MSG_SIZE_TOO_LARGE: "raise max.message.bytes of the topic to the topology's value: finance topics apply",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "let topology.yaml name it among the publishers, then: finance topics apply",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "grant this principal IDEMPOTENT_WRITE: a broker older than 2.8",
    KafkaError.UNKNOWN_TOPIC_OR_PART: "create the topic with its partitions: finance topics apply",
    KafkaError._UNKNOWN_TOPIC: "create the topic with its partitions: finance topics apply",
    KafkaError._UNKNOWN_PARTITION: "the topic has fewer partitions than the topology says: finance topics check",
    KafkaError.TOPIC_EXCEPTION: "the topic name is not legal: see FINANCE_TOPIC_PREFIX and topology.yaml",
    KafkaError._AUTHENTICATION: "give this process valid Kafka credentials",
    KafkaError.SASL_AUTHENTICATION_FAILED: "give this process valid Kafka credentials",
}


class KafkaPublisher:
    """The Publisher port on confluent-kafka. `options` are librdkafka settings (TLS, tests) laid over the defaults.

    Every method may raise Unavailable("kafka") or, for what waiting cannot mend, Refused with the remedy.
    """

    def __init__(
        self,
        brokers: str,
        options: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        self._failure: FinanceError | None = None
        self._closed = False
        settings: dict[str, object] = {**_DEFAULTS, **(options or {})}
        settings |= {
            "bootstrap.servers": brokers,
            **self._reports(),
            "error_cb": self._on_error,
            "logger": logging.getLogger("kafka.producer"),
        }
        try:
            self._producer = Producer(settings)
        except KafkaException as error:
            raise Refused(f"Kafka producer settings: {error}", remedy="correct the Kafka options") from error
        self._produce = self._producer.produce
        self._last_error = "no error was reported"

    def publish(
        self,
        topic: str,
        partition: int,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> None:
        """Queue one record; waits only while the queue is full, up to ROOM_WAIT_SECONDS_MAX."""
        if self._failure is not None:
            raise self._failure
        try:
            if headers:
                self._produce(topic, value, key, partition, headers=list(headers))
            else:
                self._produce(topic, value, key, partition)
        except BufferError:
            self._wait_for_room(topic, partition, key, value, headers)
        except KafkaException as error:
            raise self._failed(error.args[0], f"{topic}[{partition}]") from error

    def poll(self) -> int:
        """Serve delivery reports without waiting; how many records are not acknowledged yet."""
        self._serve(lambda: self._producer.poll(0))
        if self._failure is not None:
            raise self._failure
        return len(self._producer)

    def flush(self, timeout_seconds: float) -> None:
        """Wait until everything queued was acknowledged. When time runs out the records stay queued: flush again."""
        if self._failure is not None:
            raise self._failure
        waiting = self._serve(lambda: self._producer.flush(timeout_seconds))
        if self._failure is not None:
            raise self._failure
        if waiting:
            raise Unavailable(
                "kafka", f"{waiting} records not acknowledged within {timeout_seconds:g} s; last: {self._last_error}"
            )

    def close(self) -> None:
        """Drop what is not acknowledged and let go. Flush before."""
        if self._closed:
            return
        self._closed = True
        self._failure = self._failure or Unavailable("kafka", "the publisher is closed")
        self._producer.purge()
        with suppress(FinanceError):  # of a producer that ended itself: it has nothing more to deliver
            self._serve(lambda: self._producer.flush(1.0))
        self._producer.close()  # ends its threads and connections now, not at some garbage collection

    def _serve(self, serve: Callable[[], int]) -> int:
        """The client raises its own end out of what serves its callbacks, and calls those all the same."""
        try:
            return serve()
        except KafkaException as error:
            raise self._failed(error.args[0], "the producer ended") from error
        except (AttributeError, SystemError) as error:  # what a callback meets while the end is being raised
            self._failure = self._failure or Unavailable("kafka", f"the producer ended; last: {self._last_error}")
            raise self._failure from error

    def _reports(self) -> dict[str, object]:
        return {
            "on_delivery": self._reported,
            "delivery.report.only.error": True,  # a call for each success would cost 0.6 us a record
        }

    def _reported(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failure is None:
            self._failed(error, f"{message.topic()}[{message.partition()}]")

    def _wait_for_room(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
    ) -> None:
        deadline = time.monotonic() + ROOM_WAIT_SECONDS_MAX
        while time.monotonic() < deadline:
            self._serve(lambda: self._producer.poll(ROOM_POLL_SECONDS))
            if self._failure is not None:
                raise self._failure
            try:
                self._produce(topic, value, key, partition, headers=list(headers))
                return
            except BufferError:
                continue
            except KafkaException as error:
                raise self._failed(error.args[0], f"{topic}[{partition}]") from error
        raise Unavailable(
            "kafka", f"the queue stayed full for {ROOM_WAIT_SECONDS_MAX:g} s; last error: {self._last_error}"
        )

    def _failed(self, error: KafkaError, place: str) -> FinanceError:
        """Remember the first failure for ever, and return it."""
        if self._failure is None:
            self._failure = self._failure_of(error, place)
        return self._failure

    def _failure_of(self, error: KafkaError, place: str) -> FinanceError:
        detail = f"{place}: {error.name()}: {error.str()}"
        remedy = _REMEDIES.get(error.code())
        if remedy is None:
            return Unavailable("kafka", f"{detail}; last error: {self._last_error}")
        return Refused(f"Kafka refused a record for {detail}", remedy=remedy)

    def _on_error(self, error: KafkaError) -> None:
        """Called from poll, for what librdkafka retries. A fatal error is raised instead (`_serve`)."""
        self._last_error = f"{error.name()}: {error.str()}"
