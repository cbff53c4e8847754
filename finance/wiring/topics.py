"""Topics and ACLs of this deployment, met as an operator: made where they are missing, compared, reported.

Guarantees: what `producers.kafka.topics` and `producers.kafka.acls` do: no topic is deleted or altered, and an ACL goes
only when it is named. Raises Unavailable and Refused.
"""

from __future__ import annotations

from collections.abc import Collection

from finance.settings.deployment import Settings
from producers.kafka import acls as acls_kafka
from producers.kafka import topics as topics_kafka
from producers.kafka.acls import AclPlan
from producers.kafka.topics import Action
from schemas.authority.kafka_acls import Acl
from schemas.topology.model import Topology

__all__ = ["AclPlan", "Action", "apply_acls", "apply_topics", "compare_acls", "compare_topics", "remove_acls"]

OPERATOR = "admin"


def apply_topics(settings: Settings, topology: Topology) -> list[Action]:
    """Create the topics that are missing: what was created, and what is left to people."""
    return topics_kafka.apply(topology, settings.kafka_brokers, settings.kafka_options(OPERATOR))


def compare_topics(settings: Settings, topology: Topology) -> list[Action]:
    """What differs from the topology; changes nothing."""
    return topics_kafka.check(topology, settings.kafka_brokers, settings.kafka_options(OPERATOR))


def apply_acls(settings: Settings, wanted: Collection[Acl]) -> AclPlan:
    """Make the ACLs that are missing; the plan that was followed."""
    return acls_kafka.apply(wanted, settings.kafka_brokers, settings.kafka_options(OPERATOR))


def compare_acls(settings: Settings, wanted: Collection[Acl]) -> AclPlan:
    """What differs from the ACLs that are wanted; changes nothing."""
    return acls_kafka.plan(wanted, settings.kafka_brokers, settings.kafka_options(OPERATOR))


def remove_acls(settings: Settings, unwanted: Collection[Acl]) -> int:
    """Take away exactly these; how many were there."""
    return acls_kafka.remove(unwanted, settings.kafka_brokers, settings.kafka_options(OPERATOR))
