"""Reading with either group protocol: from the offsets we know, each shard with one owner, and back after a restart."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from consumers.kafka.group_source import KafkaSource
from finance.workshop.devstack import Stack
from producers.kafka.publisher import KafkaPublisher
from tests.support.kafka import tls
from tests.support.waits import until

PROTOCOLS = ("consumer", "classic")
RECORDS = 40


class Member:
    """One member of a group, remembering what it read."""

    def __init__(self, brokers: str, topic: str, group: str, options: dict[str, str], start: int = 0) -> None:
        self.read: list[tuple[int, int]] = []
        self.revoked: list[int] = []
        self.source = KafkaSource(
            brokers, topic, group, lambda _partition: start, self.revoked.append, {**tls(brokers), **options}
        )

    def poll_until(self, done: Callable[[], bool]) -> None:
        until("the member gets there", done, between=self.poll, told=self.tell)

    def tell(self) -> str:
        return f"owns {sorted(self.source.owned)}, read {len(self.read)}"

    def poll(self) -> None:
        for partition, records in self.source.poll(500, 0.05):
            self.read += [(partition, record.offset) for record in records]


@pytest.fixture
def topic(stack: Stack, topic_prefix: str) -> str:
    name = f"{topic_prefix}finance.settlements"
    publisher = KafkaPublisher(stack.env["KAFKA_BROKERS"], tls(stack.env["KAFKA_BROKERS"]))
    for number in range(RECORDS):
        publisher.publish(name, number % 2, key=b"k", value=b"%d" % number)
    publisher.flush(300)
    publisher.close()
    return name


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reading_starts_where_we_say_and_never_where_kafka_remembers(stack: Stack, topic: str, protocol: str) -> None:
    group, options = uuid.uuid4().hex, {"group.protocol": protocol}
    first = Member(stack.env["KAFKA_BROKERS"], topic, group, options)
    first.poll_until(lambda: len(first.read) == RECORDS)
    assert sorted(first.read) == [(p, o) for p in (0, 1) for o in range(RECORDS // 2)]
    for partition in (0, 1):
        first.source.note_done(partition, RECORDS // 2)
    first.source.close()
    again = Member(stack.env["KAFKA_BROKERS"], topic, group, options, start=15)
    again.poll_until(lambda: len(again.read) == 10)
    again.source.close()
    assert sorted(again.read) == [(p, o) for p in (0, 1) for o in range(15, 20)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_second_member_takes_its_share_and_a_leaver_gives_it_back(stack: Stack, topic: str, protocol: str) -> None:
    group, options = uuid.uuid4().hex, {"group.protocol": protocol}
    one = Member(stack.env["KAFKA_BROKERS"], topic, group, options)
    one.poll_until(lambda: one.source.owned == {0, 1})
    two = Member(stack.env["KAFKA_BROKERS"], topic, group, options)

    def shared() -> bool:
        two.poll()
        return len(one.source.owned) == len(two.source.owned) == 1

    one.poll_until(shared)
    assert one.source.owned | two.source.owned == {0, 1}
    assert one.revoked == list(two.source.owned), "the other shard stayed where it was: cooperative"
    two.source.close()
    one.poll_until(lambda: one.source.owned == {0, 1})
    one.source.close()


def test_a_static_member_that_restarts_quickly_moves_no_shard(stack: Stack, topic: str) -> None:
    group = uuid.uuid4().hex
    options = {"group.protocol": "classic", "session.timeout.ms": "8000"}
    one = Member(stack.env["KAFKA_BROKERS"], topic, group, {**options, "group.instance.id": "host-1"})
    one.poll_until(lambda: one.source.owned == {0, 1})
    two = Member(stack.env["KAFKA_BROKERS"], topic, group, {**options, "group.instance.id": "host-2"})

    def shared() -> bool:
        two.poll()
        return len(one.source.owned) == len(two.source.owned) == 1

    one.poll_until(shared)
    mine = one.source.owned
    two_had = two.source.owned
    one.source.close()  # a static member does not leave the group: its shard waits for it
    again = Member(stack.env["KAFKA_BROKERS"], topic, group, {**options, "group.instance.id": "host-1"})

    def back() -> bool:
        two.poll()
        return bool(again.source.owned)

    again.poll_until(back)
    assert (again.source.owned, two.source.owned, two.revoked) == (mine, two_had, [])
    again.source.close()
    two.source.close()
