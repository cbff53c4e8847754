"""What a reader of Kafka makes of an error of its client: one answer for group, partition and watermarks.

Guarantees: what waiting cannot mend is Refused with the remedy, or Corrupt; everything else is Unavailable, with what
the client complained of before (a name that does not resolve, a handshake that failed): the error itself leaves it out.
Does not: speak for publishers and commands, whose remedies are others: `producers.kafka.publisher`, `.admin`.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

from ledger_core.errors import Corrupt, FinanceError, Refused, Unavailable, Unreadable

MISSING: Final = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
OFFSET_GONE: Final = KafkaError._AUTO_OFFSET_RESET
BAD_CHECKSUM: Final = KafkaError._BAD_MSG
CANNOT_UNPACK: Final = KafkaError._BAD_COMPRESSION
ALL_BROKERS_DOWN: Final = KafkaError._ALL_BROKERS_DOWN
NOT_ALLOWED: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


class LastComplaint:
    """An `error_cb` that remembers. As text: empty, or `; last: <what it was>`, to be put behind a failure."""

    def __init__(self) -> None:
        self._text = ""

    def __call__(self, error: KafkaError) -> None:
        if error.code() != ALL_BROKERS_DOWN:  # which says nothing of why
            self._text = f"; last: {error.str()}"

    def __str__(self) -> str:
        return self._text


def read_failure(
    topic: str,
    error: KafkaError,
    last: LastComplaint,
    *,
    at: tuple[int, int] | None = None,
    doing: str = "join its group",
) -> FinanceError:
    """What to raise for `error` of a client that reads `topic`. `at`: partition and offset, where they are known.
    `doing`: what it does beside reading, should it not be allowed to."""
    place = "" if at is None else f" [{at[0]}] offset {at[1]}"
    if error.code() == OFFSET_GONE:
        return Refused(
            f"{topic} no longer has the record that this cursor needs next,{place} ({error.str()})",
            remedy="restore the topic, or rebuild from the archive; nothing was skipped",
        )
    if error.code() in MISSING:
        return Refused(f"topic {topic} does not exist", remedy="run `finance topics apply`")
    if error.code() == BAD_CHECKSUM:
        return Corrupt(f"{topic}: a record fails its checksum: {error.str()}")
    if error.code() == CANNOT_UNPACK and at is not None:
        return Unreadable(
            f"{topic}{place}: no reader can unpack the batch there ({error.str()})",
            remedy="nothing was skipped; on the settlements topic: finance shards skip (RUNBOOK, section 13 E)",
            partition=at[0],
            offset=at[1],
        )
    if error.code() == CANNOT_UNPACK:
        return Refused(f"{topic}: no reader can unpack a batch of it ({error.str()})", remedy="nothing was skipped")
    if error.code() in NOT_ALLOWED:
        return Refused(
            f"Kafka does not let this principal read {topic}, or {doing} ({error.str()})",
            remedy="let topology.yaml name it as a reader, then: finance topics apply",
        )
    return Unavailable("kafka", f"{error.str()}{last}")
