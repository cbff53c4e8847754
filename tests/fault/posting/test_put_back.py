"""Kafka put back to an earlier state of its disk, or a topic that loses records, under a poster that runs.

A stack of its own: no other test's brokers are put back."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from finance.workshop.devstack import Stack
from tests.conftest import another_stack
from tests.support.kafka import client
from tests.support.lossy_topics import lose_in_the_middle
from tests.support.outages import ledger_on
from tests.support.posting_runs import publish
from tests.support.route import Ledger, Running
from tests.support.settlements import record, settlement
from tests.support.waits import until

pytestmark = pytest.mark.services

HEAD = "SELECT next_offset, posted, duplicates, rejected FROM shards WHERE shard = 0"


@pytest.fixture(scope="module")
def own_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    yield from another_stack(request, "putback")


@pytest.fixture
def ledger(own_stack: Stack, tmp_path: Path) -> Iterator[Ledger]:
    made = ledger_on(own_stack, f"p{uuid.uuid4().hex[:8]}.", tmp_path)
    try:
        yield made
    finally:
        made.end()


def publish_events(ledger: Ledger, *numbers: int, shard: int = 0) -> None:
    publish(ledger.environ, [record(0, settlement(n), shard=shard) for n in numbers])


def refusal(poster: Running) -> str:
    """It ends by itself with exit 3, and says why and what to do."""
    assert poster.wait() == 3, poster.tail()
    (line,) = poster.said("service.refused")
    assert line["remedy"]
    return str(line["message"])


def test_brokers_put_back_under_a_running_poster_pass_over_no_settlement(
    own_stack: Stack, ledger: Ledger, tmp_path: Path
) -> None:
    disk, copy = own_stack.place.data("kafka"), tmp_path / "kafka-before"
    poster = ledger.start("poster")
    publish_events(ledger, *range(50))
    until("fifty are posted", lambda: ledger.ask(HEAD) == (50, 50, 0, 0), told=poster.tail)
    own_stack.stop("kafka")
    shutil.copytree(disk, copy, symlinks=True)
    own_stack.start("kafka")
    publish_events(ledger, *range(20))
    until("twenty came again", lambda: ledger.ask(HEAD) == (70, 50, 20, 0), told=poster.tail)
    own_stack.stop("kafka")
    shutil.rmtree(disk)
    shutil.copytree(copy, disk, symlinks=True)
    own_stack.start("kafka")
    publish_events(ledger, *range(1000, 1040))  # at offsets 50 to 89: the first twenty lie below the cursor
    assert "finance.settlements" in refusal(poster)
    assert ledger.ask(HEAD) == (70, 50, 20, 0)
    again = ledger.start("poster")
    assert "is not the topic that shard 0 grew from" in refusal(again)
    assert ledger.ask(HEAD) == (70, 50, 20, 0)


def test_a_record_that_compaction_took_is_not_taken_for_a_marker(own_stack: Stack, ledger: Ledger) -> None:
    topic = ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    publish_events(ledger, 1, 2, 3)

    def more() -> None:
        for number in range(20):  # the broker may take the settings up a moment later
            publish_events(ledger, 2)
            publish_events(ledger, 4 + number)

    hole = lose_in_the_middle(own_stack.env["KAFKA_BROKERS"], topic, more)
    assert hole == 1
    poster = ledger.start("poster")
    assert f"has lost what stood at offset {hole} " in refusal(poster)
    assert ledger.ask("SELECT count(*)::int FROM verdicts") == (0,)
    assert ledger.ask(HEAD) == (0, 0, 0, 0)


def test_a_topic_that_is_compacted_stops_a_poster_that_runs(own_stack: Stack, ledger: Ledger) -> None:
    """Within the minute in which a process compares its topic."""
    topic = ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    poster = ledger.start("poster")
    poster.wait_said("poster.shard_opened")
    admin = AdminClient(client(own_stack.env["KAFKA_BROKERS"]))
    entry = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(300)
    assert "cleanup.policy is compact, the topology says delete" in refusal(poster)
