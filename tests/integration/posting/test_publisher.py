"""The publisher library and `finance publish` on a real Kafka: what is published can be read, and nothing else is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from finance.workshop.devstack import Stack
from finance.workshop.sample_data import synthetic
from ledger_core.books.settlements import SettlementEvent, event_from_record
from ledger_core.errors import Rejected, RejectReason, Unavailable
from producers.settlement_publisher import SettlementPublisher
from schemas.wire.settlements import decode_settlement
from tests.support.kafka import client, tls

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "PUBLISHING.md"

PUBLISHING = PAGE.read_text()


def block(language: str) -> str:
    """The page's only block of this language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PUBLISHING, re.S)
    return str(found)


@pytest.fixture
def brokers(stack: Stack) -> str:
    return stack.env["KAFKA_BROKERS"]


@pytest.fixture
def topic(topic_prefix: str) -> str:
    return f"{topic_prefix}finance.settlements"


@pytest.fixture
def settings(stack: Stack, brokers: str, topic_prefix: str) -> dict[str, str]:
    return {
        **os.environ,
        **stack.env,
        "KAFKA_BROKERS": brokers,
        "FINANCE_TOPIC_PREFIX": topic_prefix,
        "PYTHONPATH": str(ROOT),
    }


def read_all(brokers: str, topic: str) -> list[list[tuple[bytes, SettlementEvent]]]:
    """Key and event of every record, by partition, in order of offset."""
    consumer = Consumer({**client(brokers), "group.id": "test", "enable.auto.commit": False})
    found: list[list[tuple[bytes, SettlementEvent]]] = []
    try:
        partitions = sorted(consumer.list_topics(topic, timeout=300).topics[topic].partitions)
        for partition in partitions:
            _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=300)
            consumer.assign([TopicPartition(topic, partition, 0)])
            records: list[tuple[bytes, SettlementEvent]] = []
            while len(records) < end:
                for message in consumer.consume(end - len(records), timeout=300):
                    assert message.error() is None
                    records.append((message.key() or b"", event_from_record(decode_settlement(message.value()))))
            found.append(records)
    finally:
        consumer.close()
    return found


def finance(settings: dict[str, str], *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "finance", *arguments],
        cwd=ROOT, env=settings, input=text, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_what_is_published_is_read_back_keyed_and_in_order(brokers: str, topic: str) -> None:
    events = list(synthetic(2_000, sellers=10))
    counts: list[int] = []
    with SettlementPublisher(brokers, topic, on_progress=counts.append, options=tls(brokers)) as publisher:
        assert publisher.publish_all(events) == len(events)
    assert sum(counts) == publisher.published == len(events)
    partitions = read_all(brokers, topic)
    assert sorted((e for part in partitions for _, e in part), key=lambda e: e.occurred_at) == events
    assert all(key == event.settlement_id.encode() for part in partitions for key, event in part)
    for part in partitions:
        assert part == sorted(part, key=lambda pair: pair[1].occurred_at)
        assert len(part) > len(events) // 4  # both shards get their share


def test_a_key_goes_where_a_java_publisher_sends_it(brokers: str, topic: str) -> None:
    with SettlementPublisher(brokers, topic, options=tls(brokers)) as publisher:
        publisher.publish_all(synthetic(50))
    for partition, records in enumerate(read_all(brokers, topic)):
        for key, _ in records:
            assert (murmur2(key) & 0x7FFF_FFFF) % 2 == partition


def test_a_rejected_event_does_not_leave_and_does_not_keep_the_others_back(brokers: str, topic: str) -> None:
    good, other = synthetic(2)
    bad = SettlementEvent(
        **{name: getattr(good, name) for name in SettlementEvent.__struct_fields__} | {"event_type": "Not A Type"}
    )

    def publish_all() -> None:
        with SettlementPublisher(brokers, topic, options=tls(brokers)) as publisher:
            publisher.publish_all([good, bad, other])

    with pytest.raises(Rejected) as caught:
        publish_all()
    assert caught.value.reason is RejectReason.BAD_FIELD
    assert [event for part in read_all(brokers, topic) for _, event in part] == [good]


def test_brokers_that_are_away_surface_as_unavailable() -> None:
    options = {"log_level": 0, "reconnect.backoff.ms": 1000}
    publisher = SettlementPublisher("127.0.0.1:1", options=options)
    publisher.publish(next(synthetic(1)))
    with pytest.raises(Unavailable, match="kafka"):
        publisher.flush(0.5)
    publisher.close()


def test_the_code_block_of_the_page_runs_and_prints_what_the_page_says(
    settings: dict[str, str], brokers: str, topic: str
) -> None:
    code = block("python")
    ran = subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert f"```\n{ran.stdout}```" in PUBLISHING
    records = [event for part in read_all(brokers, topic) for _, event in part]
    assert [event.event_type for event in records] == ["settlement.captured", "settlement.refunded"]
    picture = [
        f"  {'dr' if line.side == 'debit' else 'cr'} {line.account:<27} {line.amount_minor / 100:>6.2f}"
        for line in records[0].lines
    ]
    assert "\n".join(picture) in PUBLISHING


def test_the_line_of_the_page_is_published_from_a_file(
    settings: dict[str, str], brokers: str, topic: str, tmp_path: Path
) -> None:
    line = block("json")
    path = tmp_path / "events.jsonl"
    path.write_text(line + "\n" + line.replace("st_1", "st_2"))
    ran = finance(settings, "publish", "--file", str(path), "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["published"] == 2
    assert sorted(key for part in read_all(brokers, topic) for key, _ in part) == [b"st_1", b"st_2"]


def test_a_bad_line_is_named_after_the_good_ones_were_delivered(
    settings: dict[str, str], brokers: str, topic: str
) -> None:
    line = block("json")
    ran = finance(settings, "publish", "--file", "-", "--json", text=line + line.replace("9710", "9711"))
    assert ran.returncode == 1, ran.stderr
    said = json.loads(ran.stdout)
    assert (said["ok"], said["published"], said["fault"]["reason"]) == (False, 1, "unbalanced")
    assert said["fault"]["detail"].startswith("line 2: ")
    assert sum(map(len, read_all(brokers, topic))) == 1


def test_synthetic_events_come_at_the_asked_rate(settings: dict[str, str]) -> None:
    ran = finance(settings, "publish", "--synthetic", "400", "--rate", "400", "--json")
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["published"] == 400
    assert 0.9 < said["seconds"] < 4


@pytest.mark.parametrize(
    "arguments", [[], ["--sample", "--synthetic", "1"], ["--synthetic", "1", "--month", "2017-03"]]
)
def test_contradicting_options_are_a_usage_error(settings: dict[str, str], arguments: list[str]) -> None:
    assert finance(settings, "publish", *arguments).returncode == 2


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (org.apache.kafka.common.utils.Utils), written from its definition, as an unsigned 32-bit int."""
    mask, m = 0xFFFF_FFFF, 0x5BD1_E995
    h = 0x9747_B28C ^ len(data)
    for start in range(0, len(data) & ~3, 4):
        k = int.from_bytes(data[start : start + 4], "little") * m & mask
        h = h * m & mask ^ (k ^ k >> 24) * m & mask
    tail = data[len(data) & ~3 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
