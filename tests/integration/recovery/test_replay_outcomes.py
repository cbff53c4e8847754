"""Every offset is answered, whatever a lost ledger had published of what it posted, and whatever a replay took for
published."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from finance.workshop.devstack import Stack
from ledger_core.errors import Unavailable
from producers.kafka.publisher import KafkaPublisher
from schemas.wire.outcomes import decode_outcome
from tests.support import databases
from tests.support.kafka import tls
from tests.support.mixed_events import mixed
from tests.support.posting_runs import (
    SHARDS,
    check_journal,
    check_ledger,
    end_offsets,
    post_all,
    publish,
    read_topic,
    rows,
    topic_of,
)
from tests.support.replay_runs import empty_database, live_ledger, replay

pytestmark = pytest.mark.services


@pytest.fixture
def target(stack: Stack) -> Iterator[str]:
    url = empty_database(stack.env["DATABASE_URL"], f"replay_{uuid.uuid4().hex[:12]}")
    yield url
    databases.drop_database(stack.env["DATABASE_URL"], url)


class Dying(KafkaPublisher):
    """Ends once a topic got so many records: those are acknowledged."""

    def __init__(self, brokers: str, topic: str, records: int) -> None:
        super().__init__(brokers, tls(brokers))
        self._topic, self._left = topic, records

    def publish(self, topic: str, partition: int, **record: Any) -> None:
        if topic == self._topic:
            if not self._left:
                self.flush(300)
                raise Unavailable("kafka", "it died")
            self._left -= 1
        super().publish(topic, partition, **record)


# What of its last batch a ledger had published when it was lost, in the order of the relay.
DIES = {
    "it published nothing": ("outcomes", 0),
    "some outcomes": ("outcomes", 30),
    "outcomes, and no entry": ("journal", 0),
    "outcomes, and some entries": ("journal", 30),
}


@pytest.mark.parametrize("published", DIES)
@pytest.mark.parametrize("trailing", [0, 40])
def test_after_a_replay_every_offset_is_answered(
    environ: dict[str, str], target: str, published: str, trailing: int
) -> None:
    """Of its last batch the ledger that is lost had published so much; the batch ends in entries, or in duplicates,
    whose outcomes no entry stands behind."""
    live_ledger(environ, 400)
    more = list(mixed(200, 5, first=10_000))
    publish(environ, [*more, *more[:trailing]])

    name, records = DIES[published]
    with pytest.raises(Unavailable, match="it died"):
        post_all(environ, publisher=Dying(environ["KAFKA_BROKERS"], topic_of(environ, name), records))
    replay(environ, "--into", target)
    post_all(environ, dsn=target)
    check_ledger(target)
    check_journal(environ, target)
    ends = end_offsets(environ["KAFKA_BROKERS"], topic_of(environ, "settlements"))
    for shard in SHARDS:
        told = [decode_outcome(it.value or b"") for it in read_topic(environ, topic_of(environ, "outcomes"), shard)]
        seqs = dict(rows(target, "SELECT source_offset, seq FROM entries WHERE shard = %s", [shard]))
        assert {it.offset for it in told} == set(range(ends[shard]))
        assert {it.offset: it.seq for it in told if it.verdict == "posted"} == seqs
