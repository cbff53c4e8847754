"""Topics as the topology wants them: created where they are missing, and only reported where they differ.

Guarantees: nothing is ever deleted, altered or given more partitions (that would re-map keys to other shards); a second
run does nothing. Every topic is created with delete as its only cleanup policy (compaction would drop records that
proofs commit to), but for one that is to forget, which is compacted within bounds; with explicit retention by time and
none by size, and no unclean leader election.
Does not: manage ACLs (`producers.kafka.acls` does) or wait for replicas to catch up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from producers.kafka.admin import REQUEST_SECONDS_MAX, Admin, AlreadyThere
from schemas.topology.model import Topic, Topology

REPLICATION_MAX: Final = 3
_DAY_MS: Final = 86_400_000
# Of a compacted topic: its reader has a day for every record, whatever is written over it; what was written over, or
# erased, is gone within a week; and the record that erases stays for a month, for whoever reads from the beginning.
COMPACTION: Final = {
    "delete.retention.ms": str(30 * _DAY_MS),
    "max.compaction.lag.ms": str(7 * _DAY_MS),
    "min.compaction.lag.ms": str(_DAY_MS),
}


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that is not as the topology wants it.

    `create`: the topic is missing and `apply` makes it. `finding`: `setting` has `found` where `wanted` is wanted;
    people decide, and `remedy` says how.
    """

    kind: Literal["create", "finding"]  # made by `apply`, or left to people
    topic: str  # its full name, prefix included
    setting: str
    wanted: str
    found: str
    remedy: str


def plan(topology: Topology, brokers: str, options: Mapping[str, str] | None = None) -> list[Action]:
    """What differs between the cluster and the topology; changes nothing. Raises Unavailable, Refused."""
    return _plan(topology, Admin(brokers, options))


def apply(topology: Topology, brokers: str, options: Mapping[str, str] | None = None) -> list[Action]:
    """Create the missing topics; return what was created and what is left to people. Raises Unavailable, Refused."""
    admin = Admin(brokers, options)
    actions = _plan(topology, admin)
    missing = {action.topic for action in actions if action.kind == "create"}
    if missing:
        broker_count = len(admin.cluster("list brokers").brokers)
        new = [_new_topic(topic, broker_count) for topic in topology.topics.values() if topic.name in missing]
        for name, future in admin.client.create_topics(new, operation_timeout=REQUEST_SECONDS_MAX).items():
            try:
                admin.result(future, f"create {name}")
            except AlreadyThere:
                continue  # another run of this command was faster
    return actions


def check(
    topology: Topology,
    brokers: str,
    options: Mapping[str, str] | None = None,
    *,
    seconds_max: float = REQUEST_SECONDS_MAX,
) -> list[Action]:
    """As `plan`: an empty list says that every topic stands as the topology wants it. Gives up after `seconds_max`."""
    return _plan(topology, Admin(brokers, options), seconds_max)


def topic_settings(topic: Topic, broker_count: int) -> dict[str, str]:
    """The settings a topic is created with, under Kafka's names. Pure."""
    retention_ms = -1 if topic.retention_days < 0 else topic.retention_days * _DAY_MS
    return {
        "cleanup.policy": topic.cleanup,
        "compression.type": topic.compression,
        "max.message.bytes": str(topic.message_bytes_max),
        "message.timestamp.type": topic.timestamp_type,
        "min.insync.replicas": str(max(1, replication(broker_count) - 1)),
        "retention.bytes": "-1",
        "retention.ms": str(retention_ms),
        "unclean.leader.election.enable": "false",
        **(COMPACTION if topic.cleanup == "compact" else {}),
    }


def replication(broker_count: int) -> int:
    """Copies of a partition: three, or as many as there are brokers."""
    return max(1, min(REPLICATION_MAX, broker_count))


def _plan(topology: Topology, admin: Admin, seconds_max: float = REQUEST_SECONDS_MAX) -> list[Action]:
    cluster = admin.cluster("list topics", seconds_max)
    broker_count = len(cluster.brokers)
    actions: list[Action] = []
    present: list[Topic] = []
    for topic in topology.topics.values():
        found = cluster.topics.get(topic.name)
        if found is None:
            wanted = f"{topic.partitions} partition(s), {replication(broker_count)} copies"
            actions.append(Action("create", topic.name, "topic", wanted, "missing", "finance topics apply"))
            continue
        present.append(topic)
        actions += _partition_findings(topic, [len(part.replicas) for part in found.partitions.values()], broker_count)
    if present:
        resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in present]
        answers = admin.client.describe_configs(resources, request_timeout=seconds_max)
        configs = {resource.name: admin.result(future, f"read {resource.name}") for resource, future in answers.items()}
        for topic in present:
            actions += _setting_findings(topic, configs[topic.name], broker_count)
    return sorted(actions, key=lambda action: (action.kind, action.topic, action.setting))


def _partition_findings(topic: Topic, copies: list[int], broker_count: int) -> list[Action]:
    found: list[Action] = []
    if len(copies) != topic.partitions:
        remedy = (
            "more partitions re-map keys to other shards: change topology.yaml to the count that exists, or plan the "
            "change and run kafka-topics.sh --alter --partitions yourself"
        )
        found.append(
            Action("finding", topic.name, "partitions", str(topic.partitions), str(len(copies)), remedy),
        )
    fewest = min(copies, default=0)
    if fewest < replication(broker_count):
        remedy = "kafka-reassign-partitions.sh with more replicas"
        wanted = str(replication(broker_count))
        found.append(Action("finding", topic.name, "replication", wanted, str(fewest), remedy))
    return found


def _setting_findings(topic: Topic, config: Mapping[str, Any], broker_count: int) -> list[Action]:
    findings = []
    for name, wanted in topic_settings(topic, broker_count).items():
        found = "" if config.get(name) is None else str(config[name].value)
        if found != wanted:
            remedy = (
                f"kafka-configs.sh --alter --entity-type topics --entity-name {topic.name} --add-config {name}={wanted}"
            )
            findings.append(Action("finding", topic.name, name, wanted, found, remedy))
    return findings


def _new_topic(topic: Topic, broker_count: int) -> NewTopic:
    return NewTopic(
        topic.name,
        num_partitions=topic.partitions,
        replication_factor=replication(broker_count),
        config=topic_settings(topic, broker_count),
    )
