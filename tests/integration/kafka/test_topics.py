"""Topics on a real Kafka: made once as the topology wants them, and what differs is told, never changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, ResourceType

from finance.workshop.devstack import Stack
from ledger_core.errors import Unavailable
from producers.kafka.topics import apply, check, plan, replication, topic_settings
from schemas.topology.load import Topology, load_topology
from tests.support import topics
from tests.support.kafka import client, tls
from tests.support.waits import until

ROOT = Path(__file__).parents[3]


@pytest.fixture
def brokers(stack: Stack) -> str:
    return stack.env["KAFKA_BROKERS"]


@pytest.fixture
def topology(brokers: str) -> Iterator[Topology]:
    """A topology of which no topic exists yet; what a test creates is removed after it."""
    wanted = load_topology(topics.TOPOLOGY, topic_prefix=f"n{uuid.uuid4().hex[:8]}.")
    yield wanted
    topics.delete_topics(brokers, [topic.name for topic in wanted.topics.values()])


def described(brokers: str, name: str) -> dict[str, str]:
    admin = AdminClient(client(brokers))
    (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).values()
    return {key: entry.value for key, entry in future.result(timeout=300).items()}


def partition_counts(brokers: str, topology: Topology) -> dict[str, int]:
    found = AdminClient(client(brokers)).list_topics(timeout=300).topics
    return {t.name: len(found[t.name].partitions) for t in topology.topics.values() if t.name in found}


def test_missing_topics_are_created_as_the_topology_wants_them(brokers: str, topology: Topology) -> None:
    wanted = {topic.name: topic.partitions for topic in topology.topics.values()}
    assert {action.topic for action in apply(topology, brokers, tls(brokers))} == set(wanted)
    assert partition_counts(brokers, topology) == wanted
    for topic in topology.topics.values():
        settings = described(brokers, topic.name)
        assert {key: settings[key] for key in topic_settings(topic, 1)} == topic_settings(topic, 1)
    assert described(brokers, topology.topics["settlements"].name)["message.timestamp.type"] == "LogAppendTime"
    assert described(brokers, topology.topics["audit"].name)["compression.type"] == "uncompressed"
    assert described(brokers, topology.topics["outcomes"].name)["retention.ms"] == str(30 * 86_400_000)
    assert check(topology, brokers, tls(brokers)) == []
    assert apply(topology, brokers, tls(brokers)) == []


def test_a_plan_changes_nothing(brokers: str, topology: Topology) -> None:
    assert {action.kind for action in plan(topology, brokers, tls(brokers))} == {"create"}
    assert partition_counts(brokers, topology) == {}


def test_differences_are_findings_and_stay_as_they_are(brokers: str, topology: Topology) -> None:
    audit, journal = topology.topics["audit"], topology.topics["journal"]
    admin = AdminClient(client(brokers))
    compacted = NewTopic(
        journal.name,
        num_partitions=2,
        replication_factor=1,
        config={"cleanup.policy": "compact", "retention.ms": "1000"},
    )
    admin.create_topics([compacted])[journal.name].result(timeout=300)
    apply(topology, brokers, tls(brokers))
    admin.create_partitions([NewPartitions(audit.name, 3)])[audit.name].result(timeout=300)
    until("the broker tells of three partitions", lambda: partition_counts(brokers, topology)[audit.name] == 3)
    for look in (check, apply):
        found = {(a.topic, a.setting): (a.kind, a.wanted, a.found) for a in look(topology, brokers, tls(brokers))}
        assert found[audit.name, "partitions"] == ("finding", "1", "3")
        assert found[journal.name, "cleanup.policy"] == ("finding", "delete", "compact")
        assert found[journal.name, "retention.ms"] == ("finding", "-1", "1000")
    assert partition_counts(brokers, topology)[audit.name] == 3
    assert described(brokers, journal.name)["cleanup.policy"] == "compact"


def test_fewer_partitions_than_wanted_are_never_raised(brokers: str, topology: Topology) -> None:
    name = topology.topics["settlements"].name
    admin = AdminClient(client(brokers))
    admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])[name].result(timeout=300)
    actions = [a for a in apply(topology, brokers, tls(brokers)) if (a.topic, a.setting) == (name, "partitions")]
    assert [(a.wanted, a.found) for a in actions] == [("2", "1")]
    assert "re-map keys" in actions[0].remedy
    assert partition_counts(brokers, topology)[name] == 1


def test_the_command_applies_checks_and_tells_by_its_exit_code(stack: Stack, brokers: str, topology: Topology) -> None:
    prefix = topology.topics["journal"].name.removesuffix("finance.journal")
    settings = {**os.environ, **stack.env, "KAFKA_BROKERS": brokers, "FINANCE_TOPIC_PREFIX": prefix}

    def finance(*arguments: str) -> tuple[int, dict[str, Any]]:
        ran = subprocess.run(
            [sys.executable, "-m", "finance", "topics", *arguments, "--json"],
            cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        return ran.returncode, json.loads(ran.stdout)

    code, said = finance("check")
    assert (code, said["ok"], len(said["findings"])) == (1, False, len(topology.topics))
    code, said = finance("apply")
    assert (code, said["ok"], len(said["created"])) == (0, True, len(topology.topics))
    code, said = finance("check")
    assert (code, said["ok"], said["created"], said["findings"]) == (0, True, [], [])
    code, said = finance("schemas", "--registry", "http://registry:8081")
    assert code == 0
    named = {schema["schema"] for schema in said["schemas"]}
    assert named == {"settlement.v1", "journal.v1", "outcome.v1", "personal.v1"}
    assert f"/subjects/{prefix}finance.settlements-value/versions" in {r["path"] for r in said["requests"]}


def test_brokers_that_are_away_are_unavailable(
    topology_without_brokers: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.kafka.topics.REQUEST_SECONDS_MAX", 1.0)
    with pytest.raises(Unavailable, match="kafka"):
        check(topology_without_brokers, "127.0.0.1:1")


@pytest.fixture
def topology_without_brokers() -> Topology:
    return load_topology(topics.TOPOLOGY)


def test_copies_and_acknowledgements_grow_with_the_cluster() -> None:
    topic = load_topology(topics.TOPOLOGY).topics["settlements"]
    assert [replication(count) for count in (1, 2, 3, 9)] == [1, 2, 3, 3]
    assert [topic_settings(topic, count)["min.insync.replicas"] for count in (1, 2, 3, 9)] == ["1", "1", "2", "2"]


def test_every_topic_says_how_it_lies_at_the_brokers(topology: Topology) -> None:
    """Kernel and shops read some with clients of their own, and publish some; a new topic of theirs is decided here."""
    theirs = {key for key, topic in topology.topics.items() if {"kernel", "marketplace"} & {*topic.readers}}
    theirs |= {key for key, topic in topology.topics.items() if {"api", "marketplace"} & {*topic.publishers}}
    assert theirs | {"dead_letters"} == {
        k for k, topic in topology.topics.items() if topic.compression == "uncompressed"
    }
