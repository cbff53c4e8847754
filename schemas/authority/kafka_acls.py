"""Kafka ACLs as the topology wants them: who may do what on which topic and group, and nothing else (G9).

Guarantees: pure; every grant is of one principal by name, on one resource by its whole name. WRITE brings what an
idempotent producer needs (brokers from 2.8 on ask for no IDEMPOTENT_WRITE on the cluster); the transactional id of a
topic with one writer goes to its publishers alone, or a stranger could fence them. Nobody but operators gets anything
on the cluster, nobody deletes, alters or creates topics.
Does not: name the brokers' own principal: brokers are super users of their cluster (`super.users`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

from schemas.topology.model import Topology

Resource = Literal["topic", "group", "cluster", "transactional_id"]
CLUSTER: Final = "kafka-cluster"
# Questions about a topic are asked by a client that names a group and never joins it (consumers.kafka.watermarks).
ASKING_GROUP: Final = "finance-status"
READ: Final = ("DESCRIBE", "READ")
WRITE: Final = ("DESCRIBE", "WRITE")


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """One ALLOW, literal, from every host. `operation` is Kafka's word, in capitals."""

    principal: str  # User:... as the brokers name it
    resource: Resource  # what the name is of
    name: str  # of the topic, group or transactional id, prefix included
    operation: str

    @property
    def text(self) -> str:
        """How it is written where one is named: `User:CN=prover topic finance.journal READ`."""
        return f"{self.principal} {self.resource} {self.name} {self.operation}"


def acls_of(topology: Topology, group_prefix: str = "") -> tuple[Acl, ...]:
    """Every ACL of the topology, sorted. Topic names carry their prefix; `group_prefix` is put before groups."""
    return tuple(sorted({*_topic_acls(topology), *_group_acls(topology, group_prefix), *_operator_acls(topology)}))


def acl_of(text: str) -> Acl | None:
    """The ACL that a text names; None when it names none."""
    principal, *rest = text.rsplit(" ", 3)
    if len(rest) != 3 or rest[0] not in get_args(Resource) or not principal.startswith("User:"):
        return None
    return Acl(principal, rest[0], rest[1], rest[2])  # type: ignore[arg-type]  # checked in the line above


def _topic_acls(topology: Topology) -> Iterator[Acl]:
    for key, topic in topology.topics.items():
        consumers = [name for name, process in topology.processes.items() if key in process.consumed]
        for name in (*consumers, *topic.readers):
            yield from _allow(topology, name, "topic", topic.name, READ)
        for name in topic.publishers:
            yield from _allow(topology, name, "topic", topic.name, WRITE)
            if topic.transactional_id is not None:
                yield from _allow(topology, name, "transactional_id", topic.transactional_id, WRITE)
        # Who works on a topic compares it with the topology first: every process, and a replay, which is a reader.
        for name in (*consumers, *topic.readers, *(name for name in topic.publishers if name in topology.processes)):
            yield from _allow(topology, name, "topic", topic.name, ("DESCRIBE_CONFIGS",))


def _group_acls(topology: Topology, group_prefix: str) -> Iterator[Acl]:
    asking = {reader for topic in topology.topics.values() for reader in topic.readers}
    for name, process in topology.processes.items():
        for group in process.consumed.values():
            asking.add(name)
            yield from _allow(topology, name, "group", group_prefix + group, ("READ",))
    for name in asking:
        yield from _allow(topology, name, "group", ASKING_GROUP, ("DESCRIBE",))
    for name in asking - {*topology.processes}:  # who reads from outside has one group, of its own name
        yield from _allow(topology, name, "group", group_prefix + name, ("READ",))


def _operator_acls(topology: Topology) -> Iterator[Acl]:
    """Whoever gives ACLs can give themselves any: operators are to be few, and not to be processes."""
    for name in topology.access.operators:
        yield from _allow(topology, name, "cluster", CLUSTER, ("ALTER", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS"))
        for topic in topology.topics.values():
            yield from _allow(topology, name, "topic", topic.name, ("DESCRIBE", "DESCRIBE_CONFIGS"))


def _allow(
    topology: Topology, name: str, resource: Resource, target: str, operations: tuple[str, ...]
) -> Iterator[Acl]:
    principal = topology.access.kafka_principal.replace("{name}", name)
    return (Acl(principal, resource, target, operation) for operation in operations)
