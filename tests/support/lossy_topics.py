"""A topic that loses a record in its middle, by the broker's own hand: told to keep the newest record of each key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.support.kafka import client
from tests.support.waits import until

COMPACTING: Final = {
    "cleanup.policy": "compact",
    "segment.ms": "1",
    "min.cleanable.dirty.ratio": "0.0001",
    "max.compaction.lag.ms": "1",
}
SOON: Final = {"log.cleaner.backoff.ms": "50"}


def lose_in_the_middle(brokers: str, topic: str, publish_more: Callable[[], None]) -> int:
    """The first offset of partition 0 that is gone afterwards. `publish_more` begins a new segment, so that the one
    before is cleaned. The settings are those of before again."""
    admin = AdminClient(client(brokers))
    (broker,) = admin.list_topics(topic, timeout=300).brokers
    _alter(admin, ResourceType.BROKER, str(broker), SOON)
    try:
        _alter(admin, ResourceType.TOPIC, topic, COMPACTING)
        publish_more()
        holes: list[int] = []

        def cleaned() -> bool:
            offsets = _offsets(brokers, topic)
            holes[:] = sorted({*range(offsets[-1])} - {*offsets})
            return bool(holes)

        until(f"the broker cleans {topic}", cleaned)
        return holes[0]
    finally:
        _alter(admin, ResourceType.TOPIC, topic, dict.fromkeys(COMPACTING))
        _alter(admin, ResourceType.BROKER, str(broker), dict.fromkeys(SOON))


def _alter(admin: AdminClient, kind: ResourceType, name: str, settings: Mapping[str, str | None]) -> None:
    entries = [
        ConfigEntry(
            key, value, incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        )
        for key, value in settings.items()
    ]
    for future in admin.incremental_alter_configs([ConfigResource(kind, name, incremental_configs=entries)]).values():
        future.result(300)


def _offsets(brokers: str, topic: str) -> list[int]:
    """Every offset of partition 0 at which a record stands."""
    consumer = Consumer({**client(brokers), "group.id": topic, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[int] = []
    try:
        while True:
            for message in consumer.consume(1000, 0.2):
                if message.error() is not None:
                    return found
                found.append(message.offset() or 0)
    finally:
        consumer.close()
