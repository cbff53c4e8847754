"""A topic with one writer: whoever comes later ends whoever came before, at the brokers.

An idempotent producer repeats nothing by itself, and any number of them may write. Where two processes each believe
themselves the only writer (a database and its promoted copy), only what both of them ask can say no: the brokers'
transaction coordinator, by one transactional id a topic.

Guarantees: once `fence` returned, no record of an earlier writer joins the topic, and whatever it committed before can
be read. What was published since the last `flush` stands together, or not at all; readers of committed records never
see a part. The earlier writer meets TakenOver at its next `flush`, or before.
Does not: end the transaction of a process that was killed. The next `fence` does at once, or the coordinator after
TRANSACTION_TIMEOUT_MS: readers wait in front of it that long. Idle it costs nothing: a transaction begins with the
first `publish`. Nor does it say which record failed, as KafkaPublisher does: all of them did.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from ledger_core.errors import FinanceError, Refused, TakenOver
from producers.kafka.publisher import Headers, KafkaPublisher

TRANSACTION_TIMEOUT_MS: Final = 10_000
CLOSE_SECONDS_MAX: Final = 5.0  # the client would wait for the coordinator for ever
# By its own words, or because its transaction took too long: the coordinator then ends it in the same way.
_FENCED: Final = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)


class OneWriterPublisher(KafkaPublisher):
    """`fence` first; then as KafkaPublisher, with `flush` as the commit. Every method may raise TakenOver as well."""

    def __init__(
        self, brokers: str, transactional_id: str, options: Mapping[str, str | int | bool] | None = None
    ) -> None:
        own: dict[str, str | int | bool] = {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "message.timeout.ms": TRANSACTION_TIMEOUT_MS,  # a record cannot be late for its transaction
        }
        super().__init__(brokers, {**own, **(options or {})})
        self._id = transactional_id
        self._in_transaction = False

    def fence(self, timeout_seconds: float) -> None:
        """Become the writer: earlier ones write no more, and what they left unfinished is undone."""
        self._ask(lambda: self._producer.init_transactions(timeout_seconds))

    def publish(
        self, topic: str, partition: int, *, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> None:
        """Queue one record, in the transaction that the next `flush` commits."""
        if not self._in_transaction:
            self._ask(self._producer.begin_transaction)
            self._in_transaction = True
        super().publish(topic, partition, key=key, value=value, headers=headers)

    def flush(self, timeout_seconds: float) -> None:
        """Commit what was published. When time runs out, or no answer comes, it may stand or not: begin anew."""
        deadline = time.monotonic() + timeout_seconds
        super().flush(timeout_seconds)
        if self._in_transaction:
            self._ask(lambda: self._producer.commit_transaction(max(0.1, deadline - time.monotonic())))
            self._in_transaction = False

    def close(self) -> None:
        """Undo what was not committed, and let go: in CLOSE_SECONDS_MAX, whether or not the brokers answer."""
        ending = threading.Thread(target=super().close, name="kafka close", daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the client's own: what was fenced cannot be undone, nor need it be
            ending.start()
            ending.join(CLOSE_SECONDS_MAX)

    def _ask(self, request: Callable[[], None]) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            request()
        except KafkaException as error:
            raise self._failed(error.args[0], self._id) from error

    def _reports(self) -> dict[str, object]:
        return {}  # the commit fails for each record that does; a callback would hide that we were fenced

    def _failure_of(self, error: KafkaError, place: str) -> FinanceError:
        if error.code() in _FENCED:
            return TakenOver("kafka", f"another writer took over {self._id}, or the transaction took too long")
        if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            return Refused(
                f"Kafka does not let this principal write as {self._id}", remedy="run `finance topics apply`"
            )
        return super()._failure_of(error, place)
