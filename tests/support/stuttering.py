"""A Kafka client that hands the same records over again: a broker's fetch that was answered twice, in one poll."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Message

Change = Callable[[list[Message]], list[Message]]
READERS = ("consumers.kafka.group_source", "consumers.kafka.partition_reader")  # whoever reads many records at once


def twice(messages: list[Message]) -> list[Message]:
    return messages + messages


def each_twice(messages: list[Message]) -> list[Message]:
    return [message for message in messages for _ in range(2)]


def backwards(messages: list[Message]) -> list[Message]:
    """Not again but out of order: what a reader must not take for repeats."""
    return messages[::-1]


def stutter(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """From now on every new reader's client changes what a poll hands over, while `change` changes it."""

    class Stuttering(Consumer):
        def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
            return change(super().consume(num_messages, timeout))

    for reader in READERS:
        monkeypatch.setattr(f"{reader}.Consumer", Stuttering)
