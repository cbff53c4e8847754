"""Every setting that topology.yaml binds, changed on a real topic: refused at the start and by a reader, or by none."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from consumers.kafka.group_source import KafkaSource
from consumers.kafka.topic_watch import TopicWatch
from finance.settings.deployment import Settings
from finance.wiring.kafka import check_topics
from ledger_core.errors import Refused
from producers.kafka.topics import topic_settings
from schemas.topology.load import Topology, load_topology
from tests.support import topics
from tests.support.kafka import client, tls
from tests.support.waits import until

# setting -> (a value that the topology does not say, why it is refused; None: it is reported by `finance topics`, and
# nothing is lost by it)
SETTINGS: Final[dict[str, tuple[str, str | None]]] = {
    "topic": ("missing", "there is nothing to read"),
    "partitions": ("3", "keys go to other shards"),
    "message.timestamp.type": ("CreateTime", "publishers choose the time of an entry"),
    "cleanup.policy": ("compact,delete", "records that proofs commit to are dropped"),
    "retention.ms": ("86400000", "records that no poster read are dropped"),
    "retention.bytes": ("1000000", "records that no poster read are dropped"),
    "unclean.leader.election.enable": ("true", "acknowledged records are dropped"),
    "compression.type": ("producer", "some kilobytes may unpack to what no reader can hold"),
    "max.message.bytes": ("2000000", "so may a batch that is larger than readers are made for"),
    "min.insync.replicas": ("2", None),  # the wanted value follows how many brokers are up
    "replication": ("", None),  # so does this one
}
COMPACTION: Final = {"delete.retention.ms", "max.compaction.lag.ms", "min.compaction.lag.ms"}  # of what may forget
REFUSED: Final = [name for name, (_, why) in SETTINGS.items() if why is not None]


@pytest.fixture
def topology(topic_prefix: str) -> Topology:
    return load_topology(topics.TOPOLOGY, topic_prefix=topic_prefix)


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return Settings.from_env(environ, Path.cwd())


@pytest.fixture
def admin(environ: dict[str, str]) -> AdminClient:
    return AdminClient(client(environ["KAFKA_BROKERS"]))


def change(admin: AdminClient, name: str, setting: str) -> None:
    value = SETTINGS[setting][0]
    if setting == "topic":
        admin.delete_topics([name], operation_timeout=60)[name].result(300)
        until("the topic is gone", lambda: name not in admin.list_topics(timeout=300).topics)
    elif setting == "partitions":
        admin.create_partitions([NewPartitions(name, int(value))])[name].result(timeout=300)
        until("three partitions", lambda: len(admin.list_topics(timeout=300).topics[name].partitions) == 3)
    else:
        entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(300)


def test_every_setting_that_the_topology_binds_is_in_the_table(topology: Topology) -> None:
    kept = [topic for topic in topology.topics.values() if topic.cleanup != "compact"]
    bound = {name for topic in kept for name in topic_settings(topic, 3)}
    assert set(SETTINGS) == bound | {"topic", "partitions", "replication"}
    (personal,) = [topic for topic in topology.topics.values() if topic not in kept]
    assert set(topic_settings(personal, 3)) == bound | COMPACTION


@pytest.mark.parametrize("setting", REFUSED)
def test_a_setting_that_loses_records_or_readers_is_refused_at_the_start_and_by_who_reads(
    settings: Settings, topology: Topology, admin: AdminClient, setting: str
) -> None:
    name, brokers = topology.topics["settlements"].name, settings.kafka_brokers

    def check() -> None:
        check_topics(settings, topology, ("settlements",), name="poster")

    source = KafkaSource(
        brokers, name, uuid.uuid4().hex, lambda _: 0, lambda _: None, tls(brokers), watch=TopicWatch(check, seconds=0)
    )
    try:
        until("it reads", lambda: len(source.owned) == 2, between=lambda: source.poll(10, 0.05))
        change(admin, name, setting)
        with pytest.raises(Refused) as at_start:
            until("it is refused", lambda: False, between=check)
        with pytest.raises(Refused) as reading:
            until("it is refused", lambda: False, between=lambda: source.poll(10, 0.05))
    finally:
        source.close()
    for refused in (at_start.value, reading.value):
        assert name in refused.message
        assert setting == "topic" or f"{setting} is {SETTINGS[setting][0]}" in refused.message
        assert refused.remedy


@pytest.mark.parametrize("setting", sorted(SETTINGS.keys() - {*REFUSED, "replication"}))
def test_a_setting_that_loses_nothing_stops_nobody(
    settings: Settings, topology: Topology, admin: AdminClient, setting: str
) -> None:
    change(admin, topology.topics["settlements"].name, setting)
    check_topics(settings, topology, ("settlements",), name="poster")


@pytest.mark.parametrize("setting", ["cleanup.policy", "retention.ms"])
@pytest.mark.parametrize("key", ["settlements", "journal", "audit", "outcomes", "dead_letters"])
def test_only_what_is_kept_for_ever_must_be_kept_so(
    settings: Settings, topology: Topology, admin: AdminClient, key: str, setting: str
) -> None:
    change(admin, topology.topics[key].name, setting)
    if topology.topics[key].retention_days < 0:
        with pytest.raises(Refused, match=setting):  # the broker answers before it takes a setting up
            until(
                "it is refused", lambda: False, between=lambda: check_topics(settings, topology, (key,), name="admin")
            )
    else:
        check_topics(settings, topology, (key,), name="admin")
