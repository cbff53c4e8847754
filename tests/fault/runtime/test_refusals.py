"""What no process may work on, and what it says instead: a store that does not lock, a key nobody registered, a topic
that is not the one the ledger grew from. Exit 3, the remedy in the log, and nothing written."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.support import buckets, topics
from tests.support.kafka import client
from tests.support.route import Ledger, Running
from tests.support.settlements import record, settlement
from tests.support.waits import PATIENCE_SECONDS, until

pytestmark = pytest.mark.services


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(environ, tmp_path, {"range_idle_seconds": 1})
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def admin(ledger: Ledger) -> AdminClient:
    """Kept by its fixture: a client that goes takes its unfinished answers along."""
    return AdminClient(client(ledger.environ["KAFKA_BROKERS"]))


def refusal(process: Running) -> str:
    """The process ends by itself with exit 3; what it said: message and remedy."""
    assert process.wait() == 3, process.tail()
    (line,) = process.said("service.refused")
    assert line["remedy"]
    assert process.noise == []
    return f"{line['message']}. {line['remedy']}"


def settlements(ledger: Ledger) -> str:
    return ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"


def post_and_stop(ledger: Ledger, events: int) -> None:
    poster = ledger.start("poster")
    ledger.publish(events)
    poster.wait_said("poster.batch")
    while ledger.ask("SELECT coalesce(sum(next_offset), 0) FROM shards")[0] < events:
        assert poster.running
    assert poster.stop() == 0


def recreate(ledger: Ledger, admin: AdminClient) -> None:
    """The settlements topic is deleted and made again under its name, as the topology wants it."""
    brokers, name = ledger.environ["KAFKA_BROKERS"], settlements(ledger)
    admin.delete_topics([name], operation_timeout=60)[name].result(300)
    while name in admin.list_topics(timeout=300).topics:
        continue
    topics.create_topics(brokers, ledger.environ["FINANCE_TOPIC_PREFIX"])


def test_bucket_without_object_lock_is_refused(ledger: Ledger) -> None:
    name = f"test-{uuid.uuid4().hex[:16]}"
    client = buckets.s3_client(ledger.environ)
    client.create_bucket(Bucket=name)
    ledger.environ["S3_AUDIT_BUCKET"] = name
    told = refusal(ledger.start("archiver"))
    assert f"bucket {name}" in told
    assert "create a bucket with Object Lock" in told
    assert client.list_object_versions(Bucket=name).get("Versions", []) == []


def test_key_that_is_not_registered_signs_nothing(ledger: Ledger) -> None:
    registered = json.loads(Path(ledger.environ["FINANCE_SIGNERS"]).read_text())
    others = [signer for signer in registered["signers"] if signer["algorithm"] != "ed25519"]
    path = ledger.folder / "signers.json"
    path.write_text(json.dumps({"signers": others}))
    ledger.environ["FINANCE_SIGNERS"] = str(path)
    for process in [ledger.start(name) for name in ("prover", "archiver", "notary")]:
        told = refusal(process)
        assert "not in the signer registry" in told
        assert "signers.json" in told


def test_topic_whose_times_publishers_choose_is_refused(ledger: Ledger, admin: AdminClient) -> None:
    entry = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, settlements(ledger), incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(300)
    told = refusal(ledger.start("poster"))
    assert "message.timestamp.type is CreateTime, the topology says LogAppendTime" in told
    assert settlements(ledger) in told


@pytest.mark.parametrize("events", [20, 200], ids=["shorter", "longer"])
def test_topic_made_anew_under_its_name_stops_the_poster(ledger: Ledger, admin: AdminClient, events: int) -> None:
    """Offsets start again: to go on from the old one would drop the new topic's first records in silence (G3)."""
    post_and_stop(ledger, 100)
    before = ledger.ask("SELECT array_agg((shard, next_offset, head_hash)::text ORDER BY shard) FROM shards")
    recreate(ledger, admin)
    ledger.publish(events)
    told = refusal(ledger.start("poster"))
    assert settlements(ledger) in told
    assert "nothing was" in told
    assert ledger.ask("SELECT array_agg((shard, next_offset, head_hash)::text ORDER BY shard) FROM shards") == before


def test_hole_in_the_topic_stops_the_poster_and_names_the_offset(ledger: Ledger, admin: AdminClient) -> None:
    post_and_stop(ledger, 100)
    ledger.publish(100)
    before = ledger.ask("SELECT array_agg((shard, next_offset, head_hash)::text ORDER BY shard) FROM shards")
    holes = [TopicPartition(settlements(ledger), shard, 70) for shard in (0, 1)]
    for future in admin.delete_records(holes).values():
        future.result(300)
    told = refusal(ledger.start("poster"))
    assert settlements(ledger) in told
    assert "offset 50" in told
    assert ledger.ask("SELECT array_agg((shard, next_offset, head_hash)::text ORDER BY shard) FROM shards") == before


def test_times_that_publishers_choose_stop_a_running_poster_and_are_rejected_later(
    ledger: Ledger, admin: AdminClient
) -> None:
    kinds: list[int] = []  # of time, one a record
    producer = Producer(client(ledger.environ["KAFKA_BROKERS"]))

    def send(timestamp: int = 0) -> int:
        """One more settlement; the kind of time that the broker gave its record."""
        fields = settlement(len(kinds) + 1)
        key, value = fields.settlement_id.encode(), record(0, fields).value
        sent: list[int] = []
        producer.produce(
            *(settlements(ledger), value, key, 0),
            timestamp=timestamp,
            on_delivery=lambda _, message: sent.append(message.timestamp()[0]),
        )
        assert producer.flush(PATIENCE_SECONDS) == 0
        kinds.extend(sent)
        return kinds[-1]

    def set_type(kind: str, wanted: int) -> None:
        changes = {"message.timestamp.type": kind, "message.timestamp.after.max.ms": str(2**63 - 1)}
        entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in changes.items()]
        resource = ConfigResource(ResourceType.TOPIC, settlements(ledger), incremental_configs=entries)
        admin.incremental_alter_configs([resource])[resource].result(300)
        until(f"the broker's log takes {kind}", lambda: send() == wanted)  # some time after the answer

    def posted() -> int:
        (count,) = ledger.ask("SELECT coalesce(sum(seq), 0) FROM shards")
        return int(count)

    poster = ledger.start("poster")
    send()
    until("posted", lambda: posted() == 1)
    set_type("CreateTime", TIMESTAMP_CREATE_TIME)
    send(timestamp=253_402_300_799_000)
    assert "message.timestamp.type is CreateTime, the topology says LogAppendTime" in refusal(poster)
    set_type("LogAppendTime", TIMESTAMP_LOG_APPEND_TIME)
    poster = ledger.start("poster")
    until("posted", lambda: posted() == kinds.count(TIMESTAMP_LOG_APPEND_TIME))
    rejected = kinds.count(TIMESTAMP_CREATE_TIME)
    assert ledger.ask("SELECT count(*), min(reason), max(reason) FROM verdicts") == (rejected, "bad_field", "bad_field")
    assert ledger.ask("SELECT count(event_id) FROM verdicts") == (0,)
    assert ledger.ask("SELECT max(recorded_at) < clock_timestamp() FROM entries") == (True,)
