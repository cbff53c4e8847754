"""What the audit topic tells of a shard's closed ranges: signed statements only, however the records lie."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.proving import published_topic
from consumers.proving.published_guard import PublishedRange
from consumers.proving.published_topic import PublishedTopic
from ledger_core.audit import events as audit_chain
from ledger_core.audit.events import AuditEvent, UnsignedAuditEvent
from ledger_core.ports import AuditIntent, Record
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.validity import Interval, Validity
from tests.support.archive_factory import Key
from tests.unit.proving.test_published_guard import announced, proof_hash

KEY, STRANGER = Key("ed25519"), Key("ed25519", "stranger")
AT = dt.datetime(2025, 11, 2, tzinfo=dt.UTC)


def chain(ranges: Sequence[tuple[int, int]], key: Key = KEY) -> list[AuditEvent]:
    """`journal.posted` of (shard, range_no), each followed by an event of another type."""
    prev: UnsignedAuditEvent | None = None
    events: list[AuditEvent] = []
    for shard, range_no in ranges:
        for kind, payload in (("journal.posted", announced(range_no, shard=shard).told()), ("proof.published", {})):
            intent = AuditIntent(kind, "service:prover", payload, "ab" * 16)
            prev = audit_chain.next_event(prev, intent, event_id=f"{len(events)}", created_at=AT)
            events.append(prev.signed(key.sign_digest(prev.digest), key.registry.get(key.kid)))
    return events


@dataclasses.dataclass
class Database:
    """The AuditChain of a database that holds the first `held` events of a chain, and ranges up to a number."""

    newest_no: int = 0
    proved_no: int = 0
    held: Sequence[AuditEvent] = ()

    def newest(self, _shard: int) -> int:
        return self.newest_no

    def range_heads(self) -> dict[int, tuple[int, int]]:
        return dict.fromkeys(range(10), (self.proved_no, self.newest_no))

    def chain_end(self) -> int:
        return len(self.held)

    def chain_holds(self, seq: int, event_hash: str) -> bool:
        return any((it.seq, it.hash) == (seq, event_hash) for it in self.held)

    def chained(self, shard: int, from_no: int, at_most: int) -> list[AuditEvent]:
        told = [
            it
            for it in self.held
            if it.event_type == "journal.posted"
            and it.payload["shard"] == shard
            and int(str(it.payload["range_no"])) >= from_no
        ]
        return sorted(told, key=lambda it: int(str(it.payload["range_no"])))[:at_most]


class Topic:
    def __init__(
        self, values: Sequence[AuditEvent | bytes | None], low: int = 0, database: Database | None = None
    ) -> None:
        self.low = low
        self.database = database or Database()
        self.registry = KEY.registry
        self.now = 0.0
        self.values = [value.to_json() if isinstance(value, AuditEvent) else value for value in values]
        self.read_records = 0

    def open(self, start: int, end: int) -> Piece:
        self.read_records += end - start
        return Piece([Record("audit", 0, at, 0, b"audit", self.values[at - self.low]) for at in range(start, end)])

    def bounds(self) -> tuple[int, int]:
        return self.low, self.low + len(self.values)

    def reader(self) -> PublishedTopic:
        return PublishedTopic(self.database, self.bounds, self.open, self.registry, monotonic=lambda: self.now)

    def told(self, held_no: int, shard: int = 0) -> list[PublishedRange]:
        """What a process that begins now is told."""
        self.database.newest_no = self.database.proved_no = held_no
        return self.reader().ranges(shard, held_no).ranges

    def ranges(self, held_no: int, shard: int = 0) -> list[int]:
        found = self.told(held_no, shard)
        for item in found:
            assert item.proof_hash == proof_hash(item.range_no)
            assert item.unknown_kid or item.announced == announced(item.range_no, shard=shard)
        return [item.range_no for item in found]


class Piece:
    def __init__(self, records: list[Record]) -> None:
        self._records = records

    @property
    def done(self) -> bool:
        return not self._records

    def read(self, records_max: int) -> list[Record]:
        records, self._records = self._records[:records_max], self._records[records_max:]
        return records

    def close(self) -> None: ...


def test_the_ranges_beyond_the_database_come_in_order_with_the_newest_it_holds() -> None:
    topic = Topic(chain([(0, 1), (1, 1), (0, 2), (0, 3), (1, 2), (0, 4)]))
    assert topic.ranges(2) == [2, 3, 4]
    assert topic.ranges(0) == [1, 2, 3, 4]
    assert topic.ranges(4) == [4]
    assert topic.ranges(1, shard=1) == [1, 2]
    assert topic.ranges(0, shard=2) == []
    assert Topic([]).ranges(0) == []


@pytest.mark.parametrize("step", [1, 3, 8, 100])
def test_the_topic_is_read_in_bounded_steps_and_no_further_than_needed(
    monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(published_topic, "STEP_RECORDS", step)
    events = chain([(0, number) for number in range(1, 41)])
    topic = Topic(events, 7, Database(held=events[:76]))
    assert topic.ranges(38) == [38, 39, 40]
    assert topic.read_records <= 6 + 2 * step


SHARDS = [(shard, number) for number in range(1, 31) for shard in range(10)]


def test_a_shard_without_a_range_costs_no_more_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_topic, "STEP_RECORDS", 20)
    events = chain(SHARDS)
    topic = Topic(events, database=Database(held=events))
    topic.database.newest_no = 30
    reader = topic.reader()
    assert [len(reader.ranges(shard, 0).ranges) for shard in (55, 56, 57)] == [0, 0, 0]
    assert topic.read_records == 40  # of 600: one step, and one more


def test_shards_are_answered_by_one_pass_and_what_came_since_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_topic, "STEP_RECORDS", 20)
    events = chain(SHARDS)
    topic = Topic(events[:500])
    reader = topic.reader()
    for shard in range(10):
        assert [it.range_no for it in reader.ranges(shard, 0).ranges] == list(range(1, 26))
    assert topic.read_records == 500
    topic.values = Topic(events).values
    topic.now += published_topic.FRESH_SECONDS
    for shard in range(10):
        assert [it.range_no for it in reader.ranges(shard, 0).ranges] == list(range(1, 31))
    assert topic.read_records == 600


@given(st.data())
def test_the_answer_is_that_of_the_whole_topic(data: st.DataObject) -> None:
    """Whatever the database holds of the chain, of the ranges, whatever is repeated and wherever steps end."""
    order = data.draw(st.lists(st.integers(0, 2), max_size=20))
    numbers = dict.fromkeys(range(3), 0)
    ranges: list[tuple[int, int]] = []
    for shard in order:
        numbers[shard] += 1
        ranges.append((shard, numbers[shard]))
    events = chain(ranges)
    published = data.draw(st.integers(0, len(events)))
    held = data.draw(st.integers(0, len(events)))
    proved = {shard: data.draw(st.integers(0, number)) for shard, number in numbers.items()}
    values = [*events[: published // 2], *events[:published][-4:][:2], *events[published // 2 : published]]
    database = Database(held=events[:held])
    database.range_heads = lambda: {shard: (no, no) for shard, no in proved.items()}  # type: ignore[method-assign]
    database.newest = lambda _shard: proved[_shard]  # type: ignore[method-assign]
    topic = Topic(values if published >= 8 else events[:published], database=database)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published_topic, "STEP_RECORDS", data.draw(st.integers(1, 12)))
        reader = topic.reader()
        for shard, proved_no in proved.items():
            told = [it.range_no for it in reader.ranges(shard, proved_no).ranges]
            whole = [number for at, number in ranges[: (published + 1) // 2] if at == shard]
            assert [no for no in told if no > proved_no] == [no for no in whole if no > proved_no]
            assert set(told) <= set(whole)


def test_a_database_that_was_put_back_is_told_what_it_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_topic, "STEP_RECORDS", 4)
    events = chain([(0, number) for number in range(1, 31)])
    database = Database(30, 30, events)
    topic = Topic(events, database=database)
    reader = topic.reader()
    assert [it.range_no for it in reader.ranges(0, 30).ranges] == [30]
    database.held, database.newest_no, database.proved_no = events[:20], 10, 10
    assert [it.range_no for it in reader.ranges(0, 10).ranges] == list(range(10, 31))


def test_what_is_chained_and_not_published_is_not_told() -> None:
    events = chain([(0, 1), (0, 2), (0, 3)])
    topic = Topic(events[:4], database=Database(held=events))
    assert topic.ranges(0) == [1, 2]


def test_of_ranges_of_many_shards_a_bounded_number_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_topic, "RANGES_ALL_MAX", 30)
    monkeypatch.setattr(published_topic, "RANGES_EACH_MIN", 2)
    topic = Topic(chain(SHARDS))
    reader = topic.reader()
    told = reader.ranges(0, 0)
    assert ([it.range_no for it in told.ranges], told.more) == ([1, 2, 3], True)
    assert [it.range_no for it in reader.ranges(9, 0).ranges] == [1, 2, 3]
    assert topic.read_records == 600
    topic.database.newest_no = 3  # closed again, and not yet signed
    told = reader.ranges(0, 0)
    assert ([it.range_no for it in told.ranges], told.more) == ([1, 2, 3, 4, 5, 6], True)


def test_of_ranges_that_wait_for_their_proof_the_newest_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_topic, "RANGES_MAX", 6)
    monkeypatch.setattr(published_topic, "CLOSED_MAX", 3)
    events = chain([(0, number) for number in range(1, 31)])
    for held in ([], events):
        topic = Topic(events, database=Database(newest_no=10, proved_no=2, held=held))
        told = topic.reader().ranges(0, 2)
        numbers = [it.range_no for it in told.ranges]
        assert (numbers, told.more) == ([2, *range(8, 16 if held else 17)], True)


def forged(event: AuditEvent) -> list[AuditEvent | bytes | None]:
    other = chain([(0, 9)], STRANGER)[0]
    altered = {**event.payload, "range_no": "9"}
    return [
        None,
        b"",
        b"not ours",
        b'{"a":1}',
        event.to_json() + b" ",
        dataclasses.replace(event, payload=altered),  # another payload under a signed hash
        dataclasses.replace(event, payload=altered, hash=audit_chain.event_hash(altered, event.prev_hash)),
        dataclasses.replace(other, signer_kid=KEY.kid),  # a stranger in our name
        dataclasses.replace(event, seq=99),
        dataclasses.replace(event, signature=""),
        dataclasses.replace(event, signature="!"),
        dataclasses.replace(chain([(0, 9)])[1], event_type="journal.posted"),  # signed, and of another type
    ]


@pytest.mark.parametrize("at", range(len(forged(chain([(0, 1)])[0]))))
@pytest.mark.parametrize("last", [True, False])
def test_a_record_that_is_not_ours_stops_nothing_and_tells_nothing(at: int, last: bool) -> None:
    events: list[AuditEvent | bytes | None] = list(chain([(0, 1), (0, 2)]))
    events.insert(len(events) if last else 2, forged(chain([(0, 1)])[0])[at])
    assert Topic(events).ranges(1) == [1, 2]


def test_a_range_signed_by_a_key_that_the_registry_lacks_is_told_as_such() -> None:
    topic = Topic([*chain([(0, 1)]), *chain([(0, 1), (0, 2)], STRANGER)[2:]])
    found = topic.told(1)
    assert [(item.range_no, item.unknown_kid, item.announced is None) for item in found] == [
        (1, None, False),
        (2, STRANGER.kid, True),
    ]


def test_a_signed_event_without_the_terms_binds_all_the_same() -> None:
    fields = {name: value for name, value in announced(1).told().items() if name != "ts"}
    unsigned = audit_chain.next_event(
        None, AuditIntent("journal.posted", "service:prover", fields, "ab" * 16), event_id="e", created_at=AT
    )
    event = unsigned.signed(KEY.sign_digest(unsigned.digest), KEY.registry.get(KEY.kid))
    found = Topic([event]).told(0)
    assert [(item.range_no, item.proof_hash, item.announced) for item in found] == [(1, proof_hash(1), None)]


def test_a_stolen_key_binds_nobody_beyond_where_it_counts() -> None:
    (signer,) = KEY.registry.signers
    registry = SignerRegistry([dataclasses.replace(signer, validity=Validity(audit=Interval(1, 3)))])
    topic = Topic(chain([(0, 1), (0, 2), (0, 3)]))
    topic.registry = registry
    assert topic.ranges(0) == [1, 2]
