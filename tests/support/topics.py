"""Topics of topology.yaml under a prefix of their own, so that tests on one broker do not meet."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka.admin import AdminClient

from producers.kafka import acls as acls_kafka
from producers.kafka import topics as topics_kafka
from schemas.authority.kafka_acls import ASKING_GROUP, acls_of
from schemas.topology.load import load_topology
from tests.support.kafka import client, tls

TOPOLOGY = Path(__file__).parents[2] / "topology.yaml"


def create_topics(brokers: str, prefix: str) -> list[str]:
    """Create every topic of the topology, as `finance topics apply` does; their names."""
    topology = load_topology(TOPOLOGY, topic_prefix=prefix)
    topics_kafka.apply(topology, brokers, tls(brokers))
    let_in(brokers, prefix, TOPOLOGY)
    return [topic.name for topic in topology.topics.values()]


def let_in(brokers: str, prefix: str, topology: Path) -> None:
    """On a secure stack, the ACLs of this topology's topics and groups."""
    if tls(brokers):
        acls_kafka.apply(acls_of(load_topology(topology, topic_prefix=prefix), prefix), brokers, tls(brokers))


def delete_topics(brokers: str, names: list[str]) -> None:
    """Delete topics; what a failed test already deleted is no error."""
    admin = AdminClient(client(brokers))
    if tls(brokers) and names:
        prefix = min(names).partition("finance.")[0]
        acls = acls_of(load_topology(TOPOLOGY, topic_prefix=prefix), prefix)
        own = [
            acl for acl in acls if acl.name != ASKING_GROUP
        ]  # that group has no prefix: every test's readers ask by it
        acls_kafka.remove(own, brokers, tls(brokers))
    for future in admin.delete_topics(names, operation_timeout=60).values():
        future.exception(timeout=300)
