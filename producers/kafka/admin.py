"""Kafka's admin client for commands: quiet, and able to say why it got no answer.

Guarantees: what librdkafka last complained of (a name that does not resolve, a handshake that failed) stands in the
failure, which by itself says only that there was no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from ledger_core.errors import FinanceError, Refused, Unavailable

# Its own log repeats each failed connection, twenty a second. The wait between them stays short, so that a broker is
# found soon after it came back.
_QUIET = {"log_level": 2, "reconnect.backoff.ms": 500, "reconnect.backoff.max.ms": 2000}
_DENIED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)
_AGAINST_POLICY = (KafkaError.INVALID_REPLICATION_FACTOR, KafkaError.INVALID_CONFIG, KafkaError.POLICY_VIOLATION)
REQUEST_SECONDS_MAX: Final = 15.0  # how long a broker may take over one request
_GRACE_SECONDS: Final = 5.0  # for the client to say itself that time ran out

T = TypeVar("T")


class AlreadyThere(Exception):
    """Somebody else made it since it was found missing."""


class Admin:
    """An AdminClient (`.client`) that remembers its last complaint. Raises Refused for settings that cannot be."""

    def __init__(self, brokers: str, options: Mapping[str, str] | None = None) -> None:
        self._last_error = ""
        settings: dict[str, Any] = {"bootstrap.servers": brokers, **_QUIET, **(options or {})}
        plain = "security.protocol" not in settings
        self._hint = "; TLS was not tried: if the brokers want it, set FINANCE_TLS_DIR" if plain else ""
        settings["error_cb"] = self._on_error
        try:
            self.client = AdminClient(settings)
        except KafkaException as error:
            raise Refused(
                f"Kafka client settings: {error}", remedy="correct KAFKA_BROKERS or the certificate files"
            ) from error

    def cluster(self, what: str, seconds_max: float = REQUEST_SECONDS_MAX) -> ClusterMetadata:
        """Brokers and topics. Raises Unavailable, Refused."""
        try:
            return self.client.list_topics(timeout=seconds_max)
        except KafkaException as error:
            raise self.failure(error, what) from error

    def result(self, future: Future[T], what: str) -> T:
        """What a request came to. Raises AlreadyThere, Unavailable, Refused."""
        try:
            return future.result(REQUEST_SECONDS_MAX + _GRACE_SECONDS)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                raise AlreadyThere from error
            raise self.failure(error, what) from error
        except TimeoutError as error:
            raise Unavailable("kafka", f"{what}: no answer within {REQUEST_SECONDS_MAX:g} s") from error

    def failure(self, error: KafkaException, what: str) -> FinanceError:
        """Unavailable for what waiting can mend, Refused for what it cannot."""
        reason: KafkaError = error.args[0]
        if reason.code() in _DENIED:
            return Refused(
                f"Kafka does not allow to {what}",
                remedy="run with the certificate of an operator (access.operators in topology.yaml)",
            )
        if reason.code() in _AGAINST_POLICY:
            return Refused(
                f"Kafka refuses to {what}: {reason.str()}",
                remedy="bring topology.yaml and the cluster's policy together",
            )
        self.client.poll(0)  # complaints are served from here
        why = self._last_error or self._hint
        return Unavailable("kafka", f"{what}: {reason.name()}: {reason.str()}{why}")

    def _on_error(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last_error = f"; last: {error.str()}"
