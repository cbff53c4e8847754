"""What an error of Kafka's client means to a reader: whether to wait, and what to do if waiting does not help."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from consumers.kafka.failures import (
    ALL_BROKERS_DOWN,
    BAD_CHECKSUM,
    CANNOT_UNPACK,
    MISSING,
    NOT_ALLOWED,
    OFFSET_GONE,
    LastComplaint,
    read_failure,
)
from ledger_core.errors import Corrupt, FinanceError, Refused, Unavailable


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (OFFSET_GONE, Refused, "restore the topic, or rebuild from the archive"),
        *((code, Refused, "topic t does not exist. Remedy: run `finance topics apply`") for code in MISSING),
        *((code, Refused, "does not let this principal read t, or join its group") for code in NOT_ALLOWED),
        (BAD_CHECKSUM, Corrupt, "t: a record fails its checksum"),
        (CANNOT_UNPACK, Refused, "nothing was skipped"),
        (KafkaError.REQUEST_TIMED_OUT, Unavailable, "kafka is unavailable"),
        (ALL_BROKERS_DOWN, Unavailable, "kafka is unavailable"),
    ],
)
def test_each_error_says_what_the_caller_must_do(code: int, kind: type[FinanceError], text: str) -> None:
    found = read_failure("t", KafkaError(code), LastComplaint())
    assert type(found) is kind
    assert text in str(found)


def test_what_is_unavailable_names_the_last_complaint_that_says_why() -> None:
    last = LastComplaint()
    assert (
        str(read_failure("t", KafkaError(KafkaError.NETWORK_EXCEPTION, "gone"), last)) == "kafka is unavailable: gone"
    )
    last(KafkaError(KafkaError.SASL_AUTHENTICATION_FAILED, "handshake failed"))
    last(KafkaError(ALL_BROKERS_DOWN, "2/2 brokers are down"))
    found = read_failure("t", KafkaError(KafkaError.NETWORK_EXCEPTION, "gone"), last)
    assert str(found) == "kafka is unavailable: gone; last: handshake failed"
