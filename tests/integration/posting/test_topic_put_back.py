"""A topic that is made anew from copies of its records: read on where it is whole, refused where one is another.

Behind the newest entry stand duplicates and rejections, and they are remembered as well as entries are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from consumers.metrics import NullMetrics
from consumers.service import Service
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.wiring.services import build_service
from finance.wiring.status import StatusReader
from ledger_core.errors import Refused
from ledger_core.ports import Record
from schemas.topology.load import load_topology
from tests.support import topics
from tests.support.kafka import client
from tests.support.posting_runs import check_ledger, post_all, publish, read_topic, rows, topic_of
from tests.support.settlements import record, settlement
from tests.support.waits import PATIENCE_SECONDS, until

pytestmark = pytest.mark.services

HEAD = "SELECT next_offset, posted, duplicates, rejected FROM shards WHERE shard = 0"
Records = Sequence[Record]


def posted_and_repeated(environ: dict[str, str]) -> list[Record]:
    """Fifty entries and behind them twenty duplicates: the records as the topic has them."""
    publish(environ, [record(0, settlement(n), shard=0) for n in (*range(50), *range(20))])
    post_all(environ)
    assert rows(environ["DATABASE_URL"], HEAD) == [(70, 50, 20, 0)]
    return read_topic(environ, topic_of(environ, "settlements"), 0)


def put_back(environ: dict[str, str], records: Records) -> None:
    """The topic is made again, and holds these records at their offsets with their times."""
    name = topic_of(environ, "settlements")
    admin = AdminClient(client(environ["KAFKA_BROKERS"]))
    admin.delete_topics([name], operation_timeout=60)[name].result(300)
    until("the topic is gone", lambda: name not in admin.list_topics(timeout=300).topics)
    topics.create_topics(environ["KAFKA_BROKERS"], environ["FINANCE_TOPIC_PREFIX"])
    set_type(admin, name, "CreateTime")
    producer = Producer({**client(environ["KAFKA_BROKERS"]), "enable.idempotence": True})
    for item in records:
        producer.produce(name, item.value, item.key, 0, timestamp=item.timestamp_ms)
    producer.flush(PATIENCE_SECONDS)
    set_type(admin, name, "LogAppendTime")


def set_type(admin: AdminClient, topic: str, kind: str) -> None:
    entry = ConfigEntry("message.timestamp.type", kind, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(300)


def other_newest(records: Records) -> Records:
    last = records[-1]
    other = record(last.offset, settlement(777), shard=0)
    return [*records[:-1], Record(last.topic, 0, last.offset, last.timestamp_ms, other.key, other.value)]


def poster(environ: dict[str, str]) -> Service:
    topology = load_topology(topics.TOPOLOGY, topic_prefix=environ["FINANCE_TOPIC_PREFIX"])
    return build_service("poster", Settings.from_env(environ, Path.cwd()), topology, NullMetrics())


def status_of(environ: dict[str, str]) -> str | None:
    topology = load_topology(topics.TOPOLOGY, topic_prefix=environ["FINANCE_TOPIC_PREFIX"])
    reader = StatusReader(Settings.from_env(environ, Path.cwd()), topology)
    try:
        return reader.read(clock.utc_now()).shards[0].topic_fault
    finally:
        reader.close()


# what is put back -> (of the seventy records, how many new ones follow, what is said of it)
OTHER_TOPICS: dict[str, tuple[Callable[[Records], Records], int, str]] = {
    "to before the duplicates, and longer now": (lambda old: old[:50], 40, "the record at offset 69 was appended at"),
    "to before the duplicates, and shorter": (lambda old: old[:50], 0, "it ends at offset 50, and offset 69 was read"),
    "with another newest record of the same time": (other_newest, 40, "offset 69 has another key or value now"),
    "without its newest record": (lambda old: old[:69], 40, "the record at offset 69 was appended at"),
}


@pytest.mark.parametrize("how", OTHER_TOPICS)
def test_a_topic_put_back_is_refused_and_nothing_of_it_is_passed_over(environ: dict[str, str], how: str) -> None:
    choose, fresh, said = OTHER_TOPICS[how]
    put_back(environ, choose(posted_and_repeated(environ)))
    publish(environ, [record(0, settlement(1000 + n), shard=0) for n in range(fresh)])
    started = poster(environ)
    try:
        with pytest.raises(Refused, match="not the topic that shard 0 grew from") as refused:
            until("it is refused", lambda: False, between=started.step)
    finally:
        started.close()
    assert said in refused.value.message
    assert "bring the topic back" in refused.value.remedy
    assert rows(environ["DATABASE_URL"], HEAD) == [(70, 50, 20, 0)]
    assert said in (status_of(environ) or "")


def test_a_topic_put_back_whole_is_read_on(environ: dict[str, str]) -> None:
    put_back(environ, posted_and_repeated(environ))
    publish(environ, [record(0, settlement(1000 + n), shard=0) for n in range(40)])
    started = poster(environ)
    try:
        until("all is posted", lambda: rows(environ["DATABASE_URL"], HEAD) == [(110, 90, 20, 0)], between=started.step)
    finally:
        started.close()
    assert status_of(environ) is None
    check_ledger(environ["DATABASE_URL"])


def test_a_shard_whose_newest_record_is_not_known_is_compared_by_its_newest_entry(environ: dict[str, str]) -> None:
    """As a rebuild leaves it: the archive has entries, not records."""
    old = posted_and_repeated(environ)
    forgotten = "UPDATE shards SET newest_record_offset = NULL, newest_record_ms = NULL, newest_record_sha256 = NULL "
    forgotten += "WHERE shard = 0 RETURNING shard"
    assert rows(environ["DATABASE_URL"], forgotten) == [(0,)]
    put_back(environ, old[:49])
    started = poster(environ)
    try:
        with pytest.raises(Refused, match="it ends at offset 49, and offset 49 was read"):
            until("it is refused", lambda: False, between=started.step)
    finally:
        started.close()
