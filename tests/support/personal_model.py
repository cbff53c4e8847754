"""What must become of personal data, by rules of one page: the records of the side topic, the entries, the erasures;
and shops that bring about all of it.

Guarantees: it reads the topic itself, and imports nothing of the keeper. What a race decides (whether data of an event
that is erased meanwhile were refused, or kept and deleted) it leaves open; whether they are gone it does not.
Does not: know the limit of rows that wait under one event id.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from ledger_core.books.personal import sealed
from ledger_core.books.settlements import SettlementRecord
from ledger_core.postgres.personal.erasures import approve, decide
from producers.kafka.publisher import KafkaPublisher
from schemas.wire.personal import decode_personal
from tests.support.kafka import tls
from tests.support.personal import digest, erasure, record, topic_of
from tests.support.posting_runs import read_topic
from tests.support.settlements import event_id, settlement, wire

Row = tuple[str, bytes, bytes]  # event id, digest, data
DIGEST = "substring(convert_from(body, 'UTF8') FROM '\"pii_digest\":\"([0-9a-f]{64})\"')"


@dataclass
class Told:
    """What stands of personal data, and what was refused of each partition: offset -> why."""

    kept: set[Row] = field(default_factory=set)
    waiting: set[Row] = field(default_factory=set)
    refused: dict[tuple[int, int], str] = field(default_factory=dict)


def wanted(environ: Mapping[str, str]) -> Told:
    """What the topic says, with the entries and the erasures that stand in the database."""
    with psycopg.connect(environ["DATABASE_URL"]) as connection:
        entries: dict[str, str | None] = dict(
            connection.execute(f"SELECT event_id::text, {DIGEST} FROM entries".encode()).fetchall()
        )
        erased = {row[0] for row in connection.execute("SELECT event_id::text FROM personal_erasures")}
    told = Told()
    for partition in (0, 1):
        for it in read_topic(dict(environ), topic_of(environ), partition):
            named = (it.key or b"").decode()
            if named in erased:
                continue
            if it.value is None:
                told.refused[partition, it.offset] = "not_decided"
                continue
            said = decode_personal(it.key, it.value)
            data = sealed(said.pii, said.salt)
            row = named, data.digest, data.canonical
            if named not in entries:
                told.waiting.add(row)
            elif entries[named] == data.digest.hex():
                told.kept.add(row)
            else:
                told.refused[partition, it.offset] = "other_digest"
    return told


def found(environ: Mapping[str, str]) -> Told:
    """What stands in the tables; what was refused as erased is left out."""
    with psycopg.connect(environ["DATABASE_URL"]) as connection:
        rows = connection.execute("SELECT event_id::text, digest, pii, kept FROM personal_data").fetchall()
        refused = connection.execute(
            "SELECT source_partition, source_offset, reason FROM personal_refused WHERE reason <> 'erased'"
        ).fetchall()
    told = Told(refused={(partition, offset): reason for partition, offset, reason in refused})
    for *row, kept in rows:
        (told.kept if kept else told.waiting).add((row[0], row[1], row[2]))
    return told


class Shops:
    """Shops of every kind, and an operator who erases: each round is of new events. `posted`: how many were sent."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._numbers = itertools.count(1)
        self._publisher = KafkaPublisher(environ["KAFKA_BROKERS"], tls(environ["KAFKA_BROKERS"]))
        self.posted = 0

    def close(self) -> None:
        self._publisher.close()

    def next(self) -> int:
        return next(self._numbers)

    def round(self) -> None:
        """One event of each kind; all of it is acknowledged."""
        for way in WAYS:
            n = self.next()
            for step in way:
                step(self, n)
        self.flush()

    def flush(self) -> None:
        self._publisher.flush(300)

    def data(self, n: int, name: str = "Zoe") -> None:
        self._say(n, record(n, name))

    def guess(self, n: int) -> None:
        """Somebody else's data, under this event's id."""
        self.data(n, "Mallory")

    def guess_again(self, n: int) -> None:
        """And somebody else's: the same data twice may be noted once."""
        self.data(n, "Eve")

    def empty(self, n: int) -> None:
        self._say(n, erasure(n))

    def post(self, n: int) -> None:
        """The event, with the digest of its data."""
        self._settle(settlement(n, pii_digest=digest(n).hex()))

    def post_without(self, n: int) -> None:
        self._settle(settlement(n))

    def erase(self, n: int) -> None:
        """As `finance pii approve` and `finance pii erase` do: two operators' decision, then the empty record."""
        named = {"event_id": event_id(n), "reason": "case", "actor_id": "operator:ada", "trace_id": "t"}
        approve(self._environ["DATABASE_URL_API"], **{**named, "actor_id": "operator:coo"})
        decide(self._environ["DATABASE_URL_API"], **named, unknown_too=True)
        self.empty(n)

    def _settle(self, told: SettlementRecord) -> None:
        topic, partition = self._environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements", self.posted % 2
        self._publisher.publish(topic, partition, key=told.settlement_id.encode(), value=wire(told))
        self.posted += 1

    def _say(self, n: int, told: tuple[bytes, bytes | None]) -> None:
        self._publisher.publish(topic_of(self._environ), n % 2, key=told[0], value=told[1])


# What is done under one event id, in this order; a process may come to any of it before or behind the rest.
WAYS: Sequence[Sequence[Callable[[Shops, int], None]]] = (
    (Shops.data, Shops.post),
    (Shops.post, Shops.data, Shops.data),
    (Shops.guess, Shops.data, Shops.post, Shops.guess_again),
    (Shops.empty, Shops.data, Shops.empty, Shops.post),
    (Shops.data, Shops.post, Shops.erase, Shops.data),
    (Shops.erase, Shops.data, Shops.empty, Shops.post),
    (Shops.data, Shops.erase, Shops.post, Shops.guess),
    (Shops.data,),
    (Shops.post_without,),
)
