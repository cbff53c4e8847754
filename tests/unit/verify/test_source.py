"""The topic beside the archive: whatever was done to a record since it was judged has its finding, with its offset."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence

import msgspec
import pytest

from consumers.posting.decision import decide, decisions, set_aside
from ledger_core.archive.listing import list_archive
from ledger_core.books.entries import decode_entry, encode_entry
from ledger_core.books.rule_versions import FIRST_RULES
from ledger_core.chain import link
from ledger_core.findings import Collector
from ledger_core.ports import Record
from ledger_core.posting.activation import RulesJudge
from ledger_core.posting.sequencing import sequence
from ledger_core.posting.verdicts import decode_verdict, encode_verdict
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.archive_walk import ShardWalk
from ledger_core.verify.archived_range import ArchiveScene, ArchiveSource
from ledger_core.verify.range_tally import Position
from ledger_core.verify.source import SourceCheck, SourcePlace
from tests.simulator.ledger import genesis
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of
from tests.support.control_records import KEY, control, judge
from tests.support.journal_factory import TinyEntry, TinyShard
from tests.support.settlements import TOPIC, event_id, record, sale, settlement

UNREADABLE = 9  # offset
PROVER = Key()


def topic() -> list[Record]:
    """Offsets 0 to 11 of one shard; 4 holds no record, 9 something that nobody can read."""
    bgn = sale(currency="BGN")
    records = [
        record(0, settlement(1)),
        record(1, settlement(2, lines=[*sale(), sale()[0]])),  # unbalanced
        record(2, settlement(1)),  # a duplicate
        record(3, settlement(3, lines=bgn)),  # of a currency that rules 1 do not know
        record(5, value=b"\xff rubbish", key=b"k"),
        control(6, key=KEY),
        record(7, settlement(4, lines=bgn)),
        record(8, settlement(5, reverses=event_id(99))),  # of nothing
        record(10, settlement(1, lines=sale(5))),  # a conflict
        record(11, value=None, key=None),
    ]
    return [msgspec.structs.replace(it, timestamp_ms=1_762_000_000_000 + it.offset) for it in records]


def posted() -> TinyShard:
    """The shard that posting makes of it."""
    judged = [*decisions(topic(), FIRST_RULES, lambda it, rules: decide(it, rules, judge()))]
    judged.insert(8, set_aside(TOPIC, 0, UNREADABLE))
    plan = sequence(genesis(0, TOPIC), judged, {}, upto=12)
    shard = TinyShard(next_offset=12)
    for item in plan.posted:
        entry = decode_entry(item.body)
        shard.entries.append(TinyEntry(item.seq, item.body, item.entry_hash, item.record.offset, entry))
    shard.head = plan.after.head_hash
    shard.verdicts = {it.offset: it.line for it in plan.verdicts}
    return shard


def compared(
    shard: TinyShard,
    records: Sequence[Record],
    registry: SignerRegistry = KEY.registry,
    unreadable: Sequence[int] = (UNREADABLE,),
) -> list[tuple[str, str | None, str]]:
    """Code, place and message of each finding, where the archive holds the shard and the topic these records."""
    store = MemoryStore()
    archive_of(shard, [(1, 6), (len(shard.entries), 12)], PROVER, store)
    found, listed = Collector(0), Collector()
    source = ArchiveSource(store, list_archive(store, ENV, listed)[0])
    walk = ShardWalk(ArchiveScene(ENV, PROVER.registry, keep_lines=True), 0, [source], found, Position.genesis(0))
    check = SourceCheck(0, lambda it, rules: decide(it, rules, rules_judge), found)
    rules_judge = RulesJudge(ENV, registry, told=check.activated)
    places = {offset: SourcePlace(offset, None) for offset in unreadable}
    places |= {it.offset: SourcePlace(it.offset, it) for it in records}
    reads = [places[offset] for offset in sorted(places)]
    for verified in walk.ranges():
        part = verified.proof.shards[0].source
        check.take(verified, [it for it in reads if int(part.first_offset) <= it.offset < int(part.next_offset)])
    return [(it.code, it.place, it.message) for it in found.report().findings]


def at(offset: int) -> str:
    return f"{TOPIC} [0] offset {offset}"


Change = Callable[[dict[int, Record]], object]


def put(offset: int, **changes: object) -> Change:
    return lambda records: records.update({offset: msgspec.structs.replace(records[offset], **changes)})


def drop(*offsets: int) -> Change:
    return lambda records: [records.pop(offset) for offset in offsets]


def swap(records: dict[int, Record]) -> None:
    for one, other in ((0, 7), (7, 0)):
        given = {it.offset: it for it in topic()}[other]
        records[one] = msgspec.structs.replace(records[one], key=given.key, value=given.value)


CHANGED, DROPPED, ADDED = "source.changed", "source.dropped", "source.added"
ROWS: list[tuple[str, Change, list[tuple[str, int, str]]]] = [
    ("nothing", lambda records: None, []),
    ("the first dropped", drop(0), [(DROPPED, 0, "offset 0")]),
    ("the last dropped", drop(11), [(DROPPED, 11, "offset 11")]),
    ("a rejected one dropped", drop(1), [(DROPPED, 1, "offset 1")]),
    ("a control record dropped", drop(6), [(DROPPED, 6, "offset 6")]),
    ("several dropped", drop(1, 2, 3, 5), [(DROPPED, 1, "offsets 1 to 3"), (DROPPED, 5, "offset 5")]),
    ("one added", lambda records: records.update({4: record(4, settlement(9))}), [(ADDED, 4, "no_record")]),
    ("a posted value", put(0, value=b"\0"), [(CHANGED, 0, "another value")]),
    ("a rejected value", put(1, value=b"\0"), [(CHANGED, 1, "another value")]),
    ("a repeated value", put(2, value=b"\0"), [(CHANGED, 2, "another value")]),
    ("an empty value in the place of none", put(11, value=b""), [(CHANGED, 11, "another value")]),
    ("no value", put(5, value=None), [(CHANGED, 5, "another value")]),
    ("a posted key", put(0, key=b"st-2"), [(CHANGED, 0, "another key")]),
    ("a rejected key", put(5, key=b"K"), [(CHANGED, 5, "another key")]),
    ("no key", put(5, key=None), [(CHANGED, 5, "another key")]),
    ("a key in the place of none", put(11, key=b""), [(CHANGED, 11, "another key")]),
    ("the broker's time", put(0, timestamp_ms=1_762_000_000_999), [(CHANGED, 0, "another time")]),
    ("two in another order", swap, [(CHANGED, 0, "another value"), (CHANGED, 7, "another value")]),
    ("something where nobody could read", lambda records: records.update({9: record(9, settlement(9))}),
     [(ADDED, 9, "unreadable")]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "change", "wanted"), ROWS, ids=[row[0] for row in ROWS])
def test_what_was_done_to_a_record_is_found_at_its_offset(
    what: str, change: Change, wanted: list[tuple[str, int, str]]
) -> None:
    records = {it.offset: it for it in topic()}
    change(records)
    found = compared(posted(), [records[offset] for offset in sorted(records)])
    assert [(code, place) for code, place, _ in found] == [(code, at(offset)) for code, offset, _ in wanted]
    assert all(words in message for (_, _, message), (_, _, words) in zip(found, wanted, strict=True)), found


def test_rules_are_in_force_behind_a_control_record_that_nobody_can_read_any_more() -> None:
    records = [it for it in topic() if it.offset != 6]
    found = compared(posted(), records, unreadable=(6, UNREADABLE))
    assert [(code, place) for code, place, _ in found] == [(CHANGED, at(6))]


def judged_otherwise(offset: int, **changes: object) -> Callable[[TinyShard], object]:
    """The archive has another verdict of the same record."""
    return lambda shard: shard.verdicts.update(
        {offset: encode_verdict(msgspec.structs.replace(decode_verdict(shard.verdicts[offset]), **changes))}
    )


def another_entry(shard: TinyShard) -> None:
    """The newest entry, of other money under the same record."""
    item = shard.entries[-1]
    lines = tuple(msgspec.structs.replace(leg, amount_minor=leg.amount_minor + "0") for leg in item.entry.lines)
    entry = msgspec.structs.replace(item.entry, lines=lines)
    shard.head = link(encode_entry(entry), shard.entries[-2].entry_hash)
    shard.entries[-1] = TinyEntry(item.seq, encode_entry(entry), shard.head, item.offset, entry)


VERDICTS: list[tuple[str, Callable[[TinyShard], object], int, str]] = [
    ("another entry", another_entry, 7, "another entry of the record"),
    ("another reason", judged_otherwise(1, reason="bad_amount"), 1, "the rules say: rejected, unbalanced"),
    ("another content", judged_otherwise(8, content_hash="ab" * 32), 8, "another content"),
    ("a sound one rejected", judged_otherwise(8, reason="unbalanced"), 8, "no rule is broken"),
    ("another event id", judged_otherwise(10, event_id=event_id(3)), 10, "another event id"),
]


@pytest.mark.parametrize(("what", "change", "offset", "words"), VERDICTS, ids=[row[0] for row in VERDICTS])
def test_what_was_judged_otherwise_than_the_rules_say_is_found(
    what: str, change: Callable[[TinyShard], object], offset: int, words: str
) -> None:
    shard = posted()
    change(shard)
    ((code, place, message),) = compared(shard, topic())
    assert (code, place) == ("source.verdict", at(offset))
    assert words in message


def test_a_control_record_that_counted_counts_whatever_became_of_its_key_since() -> None:
    (signer,) = KEY.registry.signers
    came = dt.datetime.fromtimestamp(topic()[5].timestamp_ms / 1000, dt.UTC)
    ended = dataclasses.replace(signer, retired_at=came - dt.timedelta(days=2), revoked_at=came - dt.timedelta(days=2))
    assert compared(posted(), topic(), SignerRegistry([ended])) == []
