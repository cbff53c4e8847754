"""What the audit topic tells of a shard's closed ranges: signed statements only, however the records lie."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.proving import published_ranges
from consumers.proving.published_guard import PublishedRange
from consumers.proving.published_ranges import in_both, newest_in_archive, newest_number, ranges_on_topic
from ledger_core.audit import events as audit_chain
from ledger_core.audit.events import AuditEvent, UnsignedAuditEvent
from ledger_core.ports import AuditIntent, Record
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.validity import Interval, Validity
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of
from tests.support.journal_factory import TinyShard
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


class Topic:
    def __init__(self, values: Sequence[AuditEvent | bytes | None], low: int = 0) -> None:
        self.low = low
        self.values = [value.to_json() if isinstance(value, AuditEvent) else value for value in values]
        self.read_records = 0

    def open(self, start: int, end: int) -> Piece:
        self.read_records += end - start
        return Piece([Record("audit", 0, at, 0, b"audit", self.values[at - self.low]) for at in range(start, end)])

    def ranges(self, held_no: int, shard: int = 0) -> list[int]:
        bounds = self.low, self.low + len(self.values)
        found = ranges_on_topic(shard, held_no, bounds, self.open, KEY.registry)
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
    monkeypatch.setattr(published_ranges, "STEP_RECORDS", step)
    topic = Topic(chain([(0, number) for number in range(1, 41)]), low=7)
    assert topic.ranges(38) == [38, 39, 40]
    assert topic.read_records <= 6 + 2 * step


def test_a_notary_that_was_killed_while_it_published_again_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_ranges, "STEP_RECORDS", 6)
    events = chain([(0, number) for number in range(1, 6)])
    assert Topic([*events, *events[4:7]]).ranges(4) == [4, 5]


def test_of_very_many_lost_ranges_the_oldest_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_ranges, "RANGES_MAX", 3)
    monkeypatch.setattr(published_ranges, "STEP_RECORDS", 5)
    topic = Topic(chain([(0, number) for number in range(1, 31)]))
    assert topic.ranges(0) == [1, 2, 3]
    assert topic.ranges(3) == [3, 4, 5, 6]


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
    found = ranges_on_topic(0, 1, (0, 4), topic.open, KEY.registry)
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
    found = ranges_on_topic(0, 0, (0, 1), Topic([event]).open, KEY.registry)
    assert [(item.range_no, item.proof_hash, item.announced) for item in found] == [(1, proof_hash(1), None)]


def test_a_stolen_key_binds_nobody_beyond_where_it_counts() -> None:
    (signer,) = KEY.registry.signers
    registry = SignerRegistry([dataclasses.replace(signer, validity=Validity(audit=Interval(1, 3)))])
    topic = Topic(chain([(0, 1), (0, 2), (0, 3)]))
    assert [item.range_no for item in ranges_on_topic(0, 0, (0, 6), topic.open, registry)] == [1, 2]


@given(st.integers(0, 3_000_000), st.integers(0, 3_000_000))
def test_the_newest_manifest_is_found_in_few_questions_however_many_there_are(newest: int, near: int) -> None:
    asked: list[int] = []

    def is_there(number: int) -> bool:
        assert number >= 1
        asked.append(number)
        return number <= newest

    assert newest_number(is_there, near) == newest
    assert len(asked) <= 2 * (newest - near).bit_length() + 3


def test_the_archives_newest_manifest_is_what_binds() -> None:
    shard = TinyShard().post(4).silence(1, reason="malformed").post(3)
    store = MemoryStore()
    archive_of(shard, [(3, 3), (5, 6), (7, 8)], KEY, store)
    for held_no in range(6):
        (found,) = newest_in_archive(0, held_no, store, ENV, KEY.registry)
        assert found.range_no == 3
    assert newest_in_archive(1, 0, store, ENV, KEY.registry) == []
    assert newest_in_archive(1, 7, store, ENV, KEY.registry) == []


def test_a_range_that_only_the_archive_holds_binds_as_well() -> None:
    def item(range_no: int, digest: str, place: str) -> PublishedRange:
        return PublishedRange(range_no, digest, place)

    topic = [item(3, "a", "topic"), item(4, "b", "topic")]
    assert in_both(topic, []) == topic
    assert in_both(topic, [item(4, "b", "archive")]) == topic
    assert in_both(topic, [item(2, "c", "archive")])[0].place == "archive"
    assert [it.place for it in in_both(topic, [item(4, "x", "archive")])] == ["topic", "topic", "archive"]
    assert [it.range_no for it in in_both(topic, [item(9, "x", "archive")])] == [3, 4, 9]


def test_while_the_topic_has_more_the_archives_newest_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_ranges, "RANGES_MAX", 2)
    topic = [PublishedRange(3, "a", "topic"), PublishedRange(4, "b", "topic")]
    assert in_both(topic, [PublishedRange(9, "x", "archive")]) == topic
