"""How far was reported is known from the newest outcomes alone, however often a database is put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import pytest
from confluent_kafka import Message

from consumers.kafka.reported_outcomes import ReportedOutcomes
from consumers.posting.relay import Relay, RelayTopics
from consumers.posting.retelling import Retelling
from ledger_core.errors import Refused
from ledger_core.posting.plans import Verdict
from ledger_core.posting.store_port import Unrelayed
from tests.simulator.faults import Faults
from tests.simulator.kafka import MemoryBroker, MemoryPublisher
from tests.support.settlements import record

TOPICS = RelayTopics("journal", "outcomes", "dead_letters")
WINDOW, SHARD = 5, 0


@dataclass
class Said:
    """As much of a `Message` as is asked of it."""

    data: bytes
    marks: Any

    def value(self) -> bytes:
        return self.data

    def headers(self) -> Any:
        return self.marks

    def partition(self) -> int:
        return SHARD


class Topic:
    """The outcomes of one shard, written by the relay, read as a poster reads them at its start."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.outcomes = ReportedOutcomes("outcomes", self._windows, self._newest)

    def report(self, offsets: Iterable[int], heads: Mapping[int, int]) -> Retelling:
        """A process starts on a database with these heads and reports those offsets; what it knew at its start."""
        retelling = Retelling(self.outcomes, [SHARD], lambda: heads, monotonic=lambda: 0.0)
        relay = Relay(MemoryPublisher(self.broker, Faults()), TOPICS, reported_to=retelling.end)
        relay.publish_again(SHARD, [Unrelayed(at, None, rejected(at)) for at in offsets])
        relay.barrier()
        return retelling

    def messages(self) -> list[Message]:
        found = self.broker.logs.get((TOPICS.outcomes, SHARD), [])
        return [cast("Message", Said(value or b"", headers)) for _, value, headers in found]

    def _windows(self, _shard: int) -> Iterator[list[Message]]:
        messages = self.messages()
        for end in range(len(messages), 0, -WINDOW):
            yield messages[max(0, end - WINDOW) : end]

    def _newest(self, _shards: Iterable[int]) -> Iterator[Message]:
        yield from self.messages()[-WINDOW:]


def rejected(offset: int) -> Verdict:
    sent = record(offset, value=b"x")
    return Verdict(offset, "rejected", "conflict", f"event-{offset}", None, False, "", b"{}", sent, 0)


def test_a_database_that_was_not_put_back_knows_of_nothing_to_repeat() -> None:
    topic = Topic()
    assert topic.report(range(50), {}).end(SHARD) == 0
    assert topic.report(range(50, 60), {SHARD: 50}).end(SHARD) == 0
    assert all(not message.headers() for message in topic.messages())


@pytest.mark.parametrize("repeated", [1, 4, 5, 6, 20, 39])
def test_a_poster_that_dies_while_it_repeats_hides_nothing_of_what_was_reported(repeated: int) -> None:
    topic = Topic()
    topic.report(range(50), {})
    assert topic.report(range(10, 10 + repeated), {SHARD: 10}).end(SHARD) == 50
    assert topic.report([], {SHARD: 10 + repeated}).end(SHARD) == 50, "the next process knows"
    assert topic.report(range(10, 13), {SHARD: 10}).end(SHARD) == 50, "and the one on the same backup once more"
    assert topic.report([], {SHARD: 5}).end(SHARD) == 50, "and on an older one"
    assert topic.outcomes.rejected(SHARD, 10, 50) == {at: (f"event-{at}", "conflict") for at in range(10, 50)}
    assert topic.report(range(13, 52), {SHARD: 13}).end(SHARD) == 50
    assert topic.report([], {SHARD: 52}).end(SHARD) == 0


def test_what_the_topic_no_longer_says_is_refused() -> None:
    topic = Topic()
    topic.report(range(20, 50), {SHARD: 20})
    with pytest.raises(Refused, match="no longer says what became of 10 offsets"):
        topic.outcomes.rejected(SHARD, 10, 50)
