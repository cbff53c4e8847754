"""What a batch unpacks to is bounded by the brokers, on every topic, whatever its publisher packs it with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import KafkaError, Producer

from consumers.kafka.partition_reader import PartitionReader
from consumers.kafka.watermarks import Watermarks
from schemas.topology.checks import UNPACKED_BYTES_MAX
from schemas.topology.load import load_topology
from tests.support import topics
from tests.support.kafka import client, tls

TOPICS: Final = ("settlements", "dead_letters", "outcomes", "journal", "audit", "personal")
CODECS: Final = ("gzip", "snappy", "lz4", "zstd")  # every one that Kafka has
# The broker unpacks before it refuses; what its heap has no room for, it refuses without a name.
REFUSED: Final = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.UNKNOWN)
HUGE_BYTES: Final = 128 * 2**20  # 4 kB in zstd


def published(brokers: str, topic: str, codec: str, size: int) -> int:
    """Publish one record of so many equal bytes; the broker's error, 0 when it took it."""
    errors: list[int] = []
    producer = Producer(
        {
            **client(brokers),
            "compression.type": codec,
            "message.max.bytes": 1_000_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
            "linger.ms": 0,
            "retries": 3,
        }
    )
    told = lambda error, _message: errors.append(error.code() if error is not None else 0)  # noqa: E731
    producer.produce(topic, bytes(size), b"key", 0, on_delivery=told)
    assert producer.flush(300) == 0
    return errors[0]


def test_every_topic_is_in_the_table() -> None:
    assert set(TOPICS) == set(load_topology(topics.TOPOLOGY).topics)


@pytest.mark.parametrize("key", TOPICS)
def test_no_topic_takes_what_unpacks_to_more_than_readers_hold(environ: dict[str, str], key: str) -> None:
    topology = load_topology(Path(environ["FINANCE_TOPOLOGY"]), topic_prefix=environ["FINANCE_TOPIC_PREFIX"])
    topic, brokers = topology.topics[key], environ["KAFKA_BROKERS"]
    for codec in CODECS:
        assert published(brokers, topic.name, codec, HUGE_BYTES) in REFUSED, codec
        below = topic.message_bytes_max - 1000
        assert published(brokers, topic.name, codec, below) == 0, "the broker must go on, and take what it should"
        if topic.compression == "uncompressed":
            assert published(brokers, topic.name, codec, topic.message_bytes_max) in REFUSED, codec
        else:  # as much as its form allows
            assert published(brokers, topic.name, codec, topic.message_bytes_max * 20) == 0, codec
    watermarks = Watermarks(brokers, tls(brokers))
    low, high = watermarks.bounds(topic.name, 0)
    watermarks.close()
    reader = PartitionReader(brokers, topic.name, 0, low, high, tls(brokers), append_times=False)
    sizes = []
    while not reader.done:
        sizes += [len(record.value or b"") for record in reader.read(100)]
    reader.close()
    assert len(sizes) == high - low == len(CODECS) * (1 if topic.compression == "uncompressed" else 2)
    assert max(sizes) <= UNPACKED_BYTES_MAX
