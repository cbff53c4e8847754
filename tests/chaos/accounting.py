"""What became of every offset, by rules of one page, against what the database, the topics and the archive say.

Guarantees: it reads the settlements topic itself, and takes a message for what its value was made to ask; it imports
none of the posting code. Two shards that met in an event id are settled by who posted it, once, and a control record of
the posting rules by whether it counted, which it may once; all else follows from the order of offsets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import psycopg
from confluent_kafka import Consumer, TopicPartition

from schemas.wire.outcomes import decode_outcome
from tests.chaos.load import LATE_FROM, PARTITIONS, Load, lines_of
from tests.support.kafka import client
from tests.support.settlements import event_id
from tests.support.verdict_model import Model, Said

GAP: Final = Said(None, wrong="gap")
CONTROL: Final = Said(None, wrong="control")
SAYS: Final = b'"says":"finance.rules.v1"'
Place = tuple[int, int]  # shard and offset


def account(environ: Mapping[str, str], load: Load) -> dict[str, int]:
    """Raise AssertionError at the first contradiction; how many offsets came to what."""
    prefix = environ["FINANCE_TOPIC_PREFIX"]
    values = _values(environ["KAFKA_BROKERS"], f"{prefix}finance.settlements")
    for place, value in load.acknowledged.items():
        assert values.get(place) == value, f"{place}: an acknowledged record does not stand there"
    with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as connection:
        found = _found(connection)
        ends: dict[int, int] = dict(connection.execute("SELECT shard, next_offset FROM shards").fetchall())
        posted: dict[str, int] = dict(connection.execute("SELECT event_id::text, shard FROM entries").fetchall())
        booked = _booked(connection)
        kept: dict[str, bytes] = dict(
            connection.execute("SELECT event_id::text, pii FROM personal_data WHERE kept").fetchall()
        )
    asked = {place: CONTROL if SAYS in value else load.said[value] for place, value in values.items()}
    counted = {place for place, said in asked.items() if said is CONTROL and found.get(place) == "rules_2"}
    wanted = _wanted(asked, ends, posted, counted)
    wrong = {place: (wanted.get(place), found.get(place)) for place in wanted.keys() | found.keys()}
    wrong = {place: pair for place, pair in wrong.items() if pair[0] != pair[1]}
    assert not wrong, f"{len(wrong)} offsets, (wanted, found): {dict(sorted(wrong.items())[:5])}"
    assert booked == _books({asked[place] for place, verdict in wanted.items() if verdict == "posted"})
    _check_outcomes(environ["KAFKA_BROKERS"], f"{prefix}finance.outcomes", found)
    personal = set(_records(environ["KAFKA_BROKERS"], f"{prefix}finance.personal").values())
    audited = [value or b"" for _, value in _records(environ["KAFKA_BROKERS"], f"{prefix}finance.audit", (0,)).values()]
    return {**Counter(wanted.values()), **load.buyers.account(personal, audited, posted, kept)}


def _values(brokers: str, topic: str) -> dict[Place, bytes]:
    return {place: value or b"" for place, (_, value) in _records(brokers, topic).items()}


def _records(
    brokers: str, topic: str, partitions: Sequence[int] = PARTITIONS
) -> dict[Place, tuple[bytes, bytes | None]]:
    """Key and value of every committed record of a topic."""
    consumer = Consumer(
        {
            **client(brokers),
            "group.id": "chaos-accounting",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    values: dict[Place, tuple[bytes, bytes | None]] = {}
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    ended: set[int] = set()
    while len(ended) < len(partitions):
        message = consumer.poll(300)
        assert message is not None, "the topic cannot be read to its end"
        error = message.error()
        if error is None:
            values[int(message.partition() or 0), int(message.offset() or 0)] = (message.key() or b"", message.value())
        elif error.name() == "_PARTITION_EOF":
            ended.add(int(message.partition() or 0))
    consumer.close()
    return values


def _found(connection: psycopg.Connection[Any]) -> dict[Place, str]:
    found: dict[Place, str] = {}
    for shard, offset in connection.execute("SELECT shard, source_offset FROM entries"):
        found[shard, offset] = "posted"
    query = "SELECT shard, source_offset, verdict, reason FROM verdicts"
    for shard, offset, verdict, reason in connection.execute(query):
        assert (shard, offset) not in found, f"{shard, offset} is an entry and a verdict"
        found[shard, offset] = "duplicate" if verdict == "duplicate" else reason
    return found


def _wanted(
    asked: Mapping[Place, Said], ends: Mapping[int, int], posted: Mapping[str, int], counted: Collection[Place]
) -> dict[Place, str]:
    """The verdicts of all offsets: shard by shard, and where another shard was first with an event id, after it."""
    model, wanted, rules = Model(), {}, dict.fromkeys(ends, 1)
    at = dict.fromkeys(ends, 0)
    while any(at[shard] < ends[shard] for shard in ends):
        moved = False
        for shard, end in ends.items():
            while at[shard] < end:
                said = asked.get((shard, at[shard]), GAP)
                if said is CONTROL:
                    counts = (shard, at[shard]) in counted and rules[shard] == 1
                    wanted[shard, at[shard]] = "rules_2" if counts else "bad_rules"
                    rules[shard] += counts
                    at[shard] += 1
                    continue
                first = None if said.n is None or said.wrong == "gap" else posted.get(event_id(said.n))
                if first not in (None, shard) and said.n not in model.first:
                    break  # the shard that posted it comes to it first
                if said.n is not None and said.n >= LATE_FROM and rules[shard] == 1:
                    said = replace(said, wrong="bad_currency")
                wanted[shard, at[shard]] = model.verdict(shard, said)
                at[shard] += 1
                moved = True
        assert moved, f"no order of the shards gives what was posted; they wait for each other at {at}"
    return wanted


def _books(posted: set[Said]) -> dict[tuple[str, str], int]:
    """(account, currency) -> debits minus credits."""
    books: Counter[tuple[str, str]] = Counter()
    for said in posted:
        assert said.n is not None
        for name, side, amount, currency, _ in lines_of(said.n, said.variant):
            books[name, currency] += amount if side == "debit" else -amount
    return {place: amount for place, amount in books.items() if amount}


def _booked(connection: psycopg.Connection[Any]) -> dict[tuple[str, str], int]:
    query = """
    SELECT account, currency, sum(debits - credits)::bigint FROM balances JOIN accounts USING (shard, account_no)
     GROUP BY account, currency HAVING sum(debits - credits) <> 0"""
    return {(name, currency): amount for name, currency, amount in connection.execute(query)}


def _check_outcomes(brokers: str, topic: str, found: Mapping[Place, str]) -> None:
    """Every offset was answered, and with nothing but its verdict, however often."""
    told: dict[Place, set[str]] = {}
    for value in _values(brokers, topic).values():
        outcome = decode_outcome(value)
        verdict = str(outcome.reason) if outcome.verdict == "rejected" else str(outcome.verdict)
        told.setdefault((outcome.shard, outcome.offset), set()).add(verdict)
    for place, verdict in found.items():
        answers = told.get(place, set())
        assert answers == {verdict}, f"{place} came to {verdict}, and its publisher was answered {sorted(answers)}"
