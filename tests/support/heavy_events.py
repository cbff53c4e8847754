"""Settlement records that are small on the wire and large in memory, and small ones that name large entries.

Sent all to one shard, in batches that unpack to 40 MB each: as they lie in a topic that was filled before the brokers
counted what a batch unpacks to, and that a replay still reads.

Guarantees: deterministic; the large ones are well-compressible, so that a limit on compressed bytes lets hundreds of
them into one batch. `LOADS` is the table: a new kind of record that could fill a process's memory is
entered there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from ledger_core.books.settlements import LineFields
from ledger_core.ports import Record
from tests.support.kafka import client
from tests.support.settlements import event_id, record, sale, settlement
from tests.support.waits import until

LINES: Final = 1_000  # event_rules.LINES_MAX
BATCH_BYTES: Final = 40_000_000  # unpacked; some kilobytes packed


def heavy_lines(amount: int = 100) -> list[LineFields]:
    """A thousand lines, 196 kB on the wire."""
    account, memo = "liability:payable:" + "seller-" * 12, "m" * 78
    sides: list[LineFields] = [(account, "debit", amount, "USD", memo), (account, "credit", amount, "USD", memo)]
    return sides * (LINES // 2)


def large(count: int, first: int = 0) -> Iterator[Record]:
    """Sound events of 196 kB."""
    lines = heavy_lines()
    return (record(0, settlement(first + n, lines=lines), shard=0) for n in range(count))


def new_accounts(count: int) -> Iterator[Record]:
    """Sound events of 500 accounts each that nobody met before, as long as they may be."""
    for n in range(count):
        lines: list[LineFields] = []
        for line in range(LINES // 2):
            account = f"liability:payable:{f'{n}-{line}-':x<110}"
            lines += [(account, "debit", 100, "USD", None), (account, "credit", 100, "USD", None)]
        yield record(0, settlement(3 * 10**6 + n, lines=lines), shard=0)


def conflicts(count: int, of: int) -> Iterator[Record]:
    """Small sound events under the ids of the large ones, in turn: each has to be compared with what was posted."""
    return (record(0, settlement(n % of, lines=sale(1_000 + n)), shard=0) for n in range(count))


def bad_namesakes(count: int, of: int) -> Iterator[Record]:
    """Small records that do not balance, under the ids of the large ones, in turn."""
    return (record(0, settlement(n % of, lines=[*sale(), sale()[0]]), shard=0) for n in range(count))


def refunds(count: int, of: int) -> Iterator[Record]:
    """Small sound events that reverse the large ones, in turn."""
    return (record(0, settlement(10**6 + n, lines=sale(), reverses=event_id(n % of)), shard=0) for n in range(count))


def large_rejected(count: int) -> Iterator[Record]:
    """Records of 196 kB that do not balance: their originals go to the dead letters."""
    lines = [*heavy_lines()[1:], ("revenue:fees", "debit", 1, "USD", None)]
    return (record(0, settlement(2 * 10**6 + n, lines=lines), shard=0) for n in range(count))


def oversize(count: int) -> Iterator[Record]:
    """Records of 2 MB: too large to be read, and to be published again."""
    return (Record("", 0, 0, 0, b"key", b"\x00" + bytes(2_000_000)) for _ in range(count))


LOADS: Final[Mapping[str, Callable[[], Iterator[Record]]]] = {
    "large events": lambda: large(400),
    "the same large events again": lambda: large(100),
    "small conflicts with large entries": lambda: conflicts(400, of=400),
    "small bad records that name large entries": lambda: bad_namesakes(400, of=400),
    "refunds that name large entries": lambda: refunds(400, of=400),
    "large rejected records": lambda: large_rejected(200),
    "accounts that nobody met before": lambda: new_accounts(440),
    "records too large to read": lambda: oversize(40),
}


def set_compression(brokers: str, topic: str, value: str) -> None:
    """The topic's `compression.type`, as an operator changes it; returns once the broker says so."""
    admin = AdminClient(client(brokers))
    entry = ConfigEntry("compression.type", value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(300)

    def said() -> bool:
        (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        return bool(future.result(timeout=300)["compression.type"].value == value)

    until(f"{topic} has compression.type={value}", said)


def publish_packed(brokers: str, topic: str, records: Iterator[Record]) -> int:
    """Publish to partition 0, as before the topic was bounded, in batches that unpack to some 40 MB each; how many
    records it were."""
    set_compression(brokers, topic, "producer")
    producer = Producer(
        {
            **client(brokers),
            "compression.type": "zstd",
            "linger.ms": 1_000,
            "batch.size": BATCH_BYTES,
            "message.max.bytes": BATCH_BYTES + 10_000_000,
            "queue.buffering.max.kbytes": 1_000_000,
            "enable.idempotence": True,
        }
    )
    count = 0
    for found in records:
        producer.produce(topic, found.value, found.key, 0)
        count += 1
        producer.poll(0)
    assert producer.flush(300) == 0
    set_compression(brokers, topic, "uncompressed")
    return count
