"""A publisher that works in transactions, as a shop may: its topic ends in offsets that hold no record."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Producer

from tests.support.kafka import client

ENDINGS: Final = ("committed", "aborted", "open")


@contextmanager
def ending(brokers: str, topic: str, how: str, messages: Sequence[tuple[bytes, bytes]]) -> Iterator[int]:
    """Publish the messages to partition 0 in one transaction. What follows them there, while the block runs: the
    commit's marker, aborted records and their marker, or records of a transaction that is not ended. Answers the
    offset after the last message."""
    producer = Producer({**client(brokers), "transactional.id": f"shop-{uuid.uuid4().hex[:8]}"})
    producer.init_transactions(300)
    ends: list[int] = []

    def publish(key: bytes, value: bytes) -> None:
        producer.produce(
            topic, value, key, 0, on_delivery=lambda error, message: ends.append(int(message.offset() or 0) + 1)
        )

    producer.begin_transaction()
    for key, value in messages:
        publish(key, value)
    producer.commit_transaction(300)
    end = max(ends, default=0)
    if how != "committed":
        producer.begin_transaction()
        for _ in range(3):
            publish(b"k", b"never to be read")
        producer.flush(300)
        if how == "aborted":
            producer.abort_transaction(300)
    try:
        yield end
    finally:
        if how == "open":
            producer.abort_transaction(300)
