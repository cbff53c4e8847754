"""`finance verify source` on real brokers: a whole topic, one that lost records, and another one of its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from producers.kafka.publisher import KafkaPublisher
from tests.simulator.faults import Faults
from tests.support.backups import finance
from tests.support.kafka import client, tls
from tests.support.settlements import record, settlement
from tests.support.stepped_ledger import SteppedLedger, injected
from tests.support.topics import create_topics, delete_topics

pytestmark = pytest.mark.services

LIMITS = {"range_entries_max": 2, "range_idle_seconds": 10**6}
EVENTS = 8


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[SteppedLedger]:
    """Two ranges of each shard, archived."""
    faults = Faults()
    with injected(faults):
        made = SteppedLedger(environ, tmp_path, faults)
        made.publish(EVENTS)
        made.finish(LIMITS)
        yield made


def verify(environ: dict[str, str], *options: str, code: int = 0) -> dict[str, Any]:
    return finance(environ, "verify", "source", *options, code=code)


def topic_of(environ: dict[str, str]) -> str:
    return environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"


def places(told: dict[str, Any]) -> set[tuple[str, str]]:
    return {(finding["code"], finding["place"]) for finding in told["findings"]}


def test_a_topic_that_holds_what_the_archive_was_made_of_is_sound(ledger: SteppedLedger) -> None:
    told = verify(ledger.environ)
    assert told["counts"]["records"] == EVENTS
    assert verify(ledger.environ, "--shard", "0")["counts"]["records"] == EVENTS // 2
    assert {finding["code"] for finding in verify(ledger.environ, "--shard", "7", code=1)["findings"]} == {
        "archive.empty"
    }


def test_records_that_the_brokers_deleted_are_named(ledger: SteppedLedger) -> None:
    brokers, topic = ledger.environ["KAFKA_BROKERS"], topic_of(ledger.environ)
    admin, below = AdminClient(client(brokers)), TopicPartition(topic, 1, 1)
    admin.delete_records([below])[below].result(300)
    (finding,) = verify(ledger.environ, code=1)["findings"]
    assert finding["code"] == "source.dropped"
    assert finding["message"].startswith("offset 0:")
    assert finding["place"] == f"{topic} [1] offset 0"


def test_another_topic_of_the_same_name_is_found_record_by_record(ledger: SteppedLedger) -> None:
    brokers, topic = ledger.environ["KAFKA_BROKERS"], topic_of(ledger.environ)
    prefix = ledger.environ["FINANCE_TOPIC_PREFIX"]
    delete_topics(brokers, [topic])
    create_topics(brokers, prefix)
    with closing(KafkaPublisher(brokers, tls(brokers))) as publisher:
        for n in range(2):
            publisher.publish(topic, 0, key=b"st-1", value=record(0, settlement(n)).value)
        publisher.flush(300)
    told = verify(ledger.environ, code=1)
    assert places(told) == {
        ("source.changed", f"{topic} [0] offset 0"),
        ("source.changed", f"{topic} [0] offset 1"),
        ("source.dropped", f"{topic} [0] offset 2"),
        ("source.dropped", f"{topic} [1] offset 0"),
        ("source.dropped", f"{topic} [1] offset 2"),
    }
