"""Shops of every kind, until they are told to stop.

Guarantees: the same seed gives the same messages in the same order (not the same offsets: that is the broker's part).
What a message asks is known by its value alone, so that the accounting can read the topic and need not trust reports.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaException, Message, Producer

from ledger_core.books.settlements import LineFields
from ledger_core.ports import Record
from tests.chaos.buyers import BuyerMessage, Buyers, digest_of
from tests.support.kafka import client
from tests.support.settlements import event_id, record, sale, settlement
from tests.support.verdict_model import Said

PARTITIONS: Final = (0, 1)
BOTH_FROM: Final = 10**9  # event numbers from here on may come to both shards
LATE_FROM: Final = 2 * 10**9  # and from here on are in a currency that only rules 2 know
PATIENCE_MS: Final = 300_000


class Load(threading.Thread):
    """Publishes at `rate` messages a second on average. `said`: value -> what it asks; `acknowledged`: (partition,
    offset) -> value, of every record that a broker acknowledged outside of an aborted transaction."""

    def __init__(self, environ: Mapping[str, str], prefix: str, seed: int, rate: float) -> None:
        super().__init__(name="load")
        self._chance = random.Random(f"{seed}:load")
        self._topic = f"{prefix}finance.settlements"
        self._side_topic = f"{prefix}finance.personal"
        self._rate = rate
        self._ending = threading.Event()
        options = {
            **client(environ["KAFKA_BROKERS"]),
            "message.timeout.ms": PATIENCE_MS,
            "compression.type": "zstd",
            "log_level": 0,  # brokers crash here
        }
        self._plain = Producer({**options, "enable.idempotence": True})
        self._shop = {**options, "transactional.id": f"chaos-{seed}-{prefix}", "transaction.timeout.ms": PATIENCE_MS}
        self._used: dict[int, list[int]] = {partition: [] for partition in PARTITIONS}
        self._met: list[int] = []
        self._number = 0
        self._behind: list[BuyerMessage] = []
        self.buyers = Buyers(seed)
        self.said: dict[bytes, Said] = {}
        self.acknowledged: dict[tuple[int, int], bytes] = {}
        self.aborted = 0
        self.failed: BaseException | None = None

    def end(self) -> None:
        """Stop, once everything published is acknowledged. Raises what failed."""
        self._ending.set()
        self.join()
        if self.failed is not None:
            raise self.failed

    def run(self) -> None:
        try:
            transactional = self._opened()
            while not self._ending.is_set():
                group = [self._message() for _ in range(self._chance.randint(1, 40))]
                dice = self._chance.random()
                if dice < 0.25:
                    transactional = self._in_transaction(transactional, group, abort=dice < 0.1)
                else:
                    for item in group:
                        self._produce(self._plain, item, self.acknowledged)
                    self._plain.poll(0)
                while self._behind:
                    self._beside(self._behind.pop())
                time.sleep(len(group) / self._rate)
            assert self._plain.flush(PATIENCE_MS / 1000) == 0
        except BaseException as error:
            self.failed = error

    def _opened(self) -> Producer:
        producer = Producer(self._shop)
        producer.init_transactions(PATIENCE_MS / 1000)
        return producer

    def _in_transaction(self, producer: Producer, group: list[Record], *, abort: bool) -> Producer:
        """One transaction; the producer for the next. What could not be committed stays unacknowledged here: whether it
        was is what the topic says."""
        sent: dict[tuple[int, int], bytes] = {}
        try:
            producer.begin_transaction()
            for item in group:
                self._produce(producer, item, sent)
            if abort:
                producer.flush(PATIENCE_MS / 1000)
                producer.abort_transaction(PATIENCE_MS / 1000)
                self.aborted += len(group)
            else:
                producer.commit_transaction(PATIENCE_MS / 1000)
                self.acknowledged |= sent
        except KafkaException:
            return self._opened()  # which ends the transaction of the one before
        return producer

    def _produce(self, producer: Producer, item: Record, into: dict[tuple[int, int], bytes]) -> None:
        def acknowledged(error: object, message: Message) -> None:
            if error is None:
                into[int(message.partition() or 0), int(message.offset() or 0)] = message.value() or b""

        producer.produce(self._topic, item.value, item.key, item.partition, on_delivery=acknowledged)

    def _message(self) -> Record:
        self._number += 1
        number, partition, dice = self._number, self._chance.choice(PARTITIONS), self._chance.random()
        known = self._used[partition]
        if dice < 0.06 and known:  # a repeat, or a contradiction
            return self._asks(partition, self._chance.choice(known), variant=self._chance.choice((0, 0, 1)))
        if dice < 0.10 and known:  # a refund, of what was sold here or of what never was
            reversed_n = self._chance.choice((self._chance.choice(known), 5 * 10**8 + number))
            return self._asks(partition, number, reverses=reversed_n)
        if dice < 0.13:
            return self._asks(partition, number, wrong="unbalanced")
        if dice < 0.15:
            value = b"\xff" + self._chance.randbytes(self._chance.randint(8, 40))  # the magic of no encoding
            self.said[value] = Said(None)
            return record(0, value=value, shard=partition)
        if dice < 0.17:
            return self._asks(partition, LATE_FROM + number)
        if dice < 0.23:  # an event id that comes to both shards
            if self._met and self._chance.random() < 0.5:
                return self._asks(partition, self._met.pop(self._chance.randrange(len(self._met))))
            self._met.append(BOTH_FROM + number)
            return self._asks(partition, self._met[-1])
        known.append(number)
        return self._asks(partition, number)

    def _asks(
        self, partition: int, n: int, *, variant: int = 0, wrong: str = "", reverses: int | None = None
    ) -> Record:
        self._of_buyer(n)
        lines = lines_of(n, variant)
        fields = settlement(
            n,
            lines=lines if not wrong else [*lines, lines[0]],
            reverses=None if reverses is None else event_id(reverses),
            pii_digest=digest_of(n),
        )
        asked = record(0, fields, shard=partition)
        assert asked.value is not None
        self.said[asked.value] = Said(n, variant, wrong, reverses)
        return asked

    def _of_buyer(self, n: int) -> None:
        """Some of it leaves before the event and some behind: nothing puts the two topics in an order."""
        for message in self.buyers.messages(n):
            if self._chance.random() < 0.5:
                self._behind.append(message)
            else:
                self._beside(message)

    def _beside(self, message: BuyerMessage) -> None:
        key, value = message
        self._plain.produce(self._side_topic, value, key)


def lines_of(n: int, variant: int) -> list[LineFields]:
    """What an event of that number books."""
    currency = "BGN" if n >= LATE_FROM else ("USD", "EUR", "JPY")[n % 3]
    return sale(1_000 + n % 5_000 + variant, f"seller-{n % 97}", currency)
