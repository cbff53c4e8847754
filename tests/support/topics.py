"""Topics of topology.yaml under a prefix of their own, so that tests on one broker do not meet."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from schemas.topology import load_topology

TOPOLOGY = Path(__file__).parents[2] / "topology.yaml"


def create_topics(brokers: str, prefix: str) -> list[str]:
    """Create every topic of the topology; their names."""
    topics = load_topology(TOPOLOGY, topic_prefix=prefix).topics.values()
    new = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=1,
            config={
                "message.timestamp.type": topic.timestamp_type,
                "max.message.bytes": str(topic.message_bytes_max),
                "retention.ms": "-1",
            },
        )
        for topic in topics
    ]
    admin = AdminClient({"bootstrap.servers": brokers})
    for future in admin.create_topics(new, operation_timeout=20).values():
        future.result(timeout=30)
    return [topic.topic for topic in new]


def delete_topics(brokers: str, names: list[str]) -> None:
    """Delete topics; what a failed test already deleted is no error."""
    admin = AdminClient({"bootstrap.servers": brokers})
    for future in admin.delete_topics(names, operation_timeout=20).values():
        future.exception(timeout=30)
