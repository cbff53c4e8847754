"""Journal records become rows: what is taken, what is skipped, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from ledger_core.books.entries import encode_entry
from ledger_core.books.rule_versions import NEWEST_RULES, UnknownRules
from ledger_core.chain import link
from ledger_core.errors import Refused
from ledger_core.reading.fold import JournalItem, ShardReach, fold
from ledger_core.reading.rows import DAY_US, Leg, month_of, time_us
from tests.support.journal_factory import TinyShard

NOW = time_us("2026-01-01T00:00:00.000000Z")
FIELDS_LEFT_OUT = {"memo", "metadata", "pii_digest"}


def items_of(shard: TinyShard, first_seq: int = 1) -> list[JournalItem]:
    return [JournalItem(it.seq - 1, it.seq, it.body, it.entry_hash) for it in shard.entries[first_seq - 1 :]]


def test_an_entry_becomes_a_row_with_all_that_questions_find_it_by() -> None:
    shard = TinyShard().post(2)
    folded = fold(ShardReach(0), items_of(shard), NOW)
    row, said = folded.rows[1], shard.entries[1].entry
    assert (row.event_id, row.settlement_id, row.order_id) == (said.event_id, said.settlement_id, said.order_id)
    assert (row.seq, row.entry_hash, row.source_offset) == (2, shard.entries[1].entry_hash, 1)
    assert row.recorded_us == row.known_us == row.occurred_us == time_us(said.recorded_at)
    assert row.effective_day == row.occurred_us // DAY_US == 20393
    assert row.known_month == 2025 * 12 + 10
    assert list(row.legs) == [
        Leg("asset:psp:shop-2", "USD", 102),
        Leg("liability:payable:seller-2", "USD", -99),
        Leg("revenue:fees", "USD", -3),
    ]
    assert folded.reach == ShardReach(0, 2, shard.head, row.known_us, 2)


def test_nothing_that_a_publisher_writes_freely_becomes_part_of_a_row() -> None:
    shard = TinyShard().post(1)
    name = "Ada of Elm Street"
    entry = msgspec.structs.replace(
        shard.entries[0].entry,
        metadata={"note": name},
        pii_digest="ab" * 32,
        lines=tuple(msgspec.structs.replace(leg, memo=name) for leg in shard.entries[0].entry.lines),
    )
    body = encode_entry(entry)
    (row,) = fold(ShardReach(0), [JournalItem(0, 1, body, link(body, None))], NOW).rows
    assert name not in repr(row)
    assert "ab" * 32 not in repr(row)
    assert not FIELDS_LEFT_OUT & set(row.__struct_fields__)


@pytest.mark.parametrize("size", [1, 2, 499, 500, 501, 1200])
def test_how_records_were_batched_changes_nothing(size: int) -> None:
    items = items_of(TinyShard().post(1200))
    whole = fold(ShardReach(0), items, NOW)
    place, rows = ShardReach(0), []
    for at in range(0, len(items), size):
        folded = fold(place, items[at : at + size], NOW)
        place = folded.reach
        rows += folded.rows
    assert (place, rows) == (whole.reach, whole.rows)


def test_what_is_fed_twice_is_answered_for_comparison_and_adds_nothing() -> None:
    items = items_of(TinyShard().post(10))
    first = fold(ShardReach(0), items[:7], NOW)
    again = fold(first.reach, items[2:], NOW)
    assert [row.seq for row in again.rows] == [8, 9, 10]
    assert again.repeats == [(item.seq, item.entry_hash) for item in items[2:6]]  # the newest is compared at once
    assert fold(first.reach, items[:7], NOW).reach == first.reach


def test_a_journal_that_was_published_again_in_the_middle_is_one_journal() -> None:
    items = items_of(TinyShard().post(10))
    told_again = [*items[:6], *items[2:8], *items[8:]]
    numbered = [item._replace(offset=offset) for offset, item in enumerate(told_again)]
    folded = fold(ShardReach(0), numbered, NOW)
    assert [row.seq for row in folded.rows] == list(range(1, 11))
    assert folded.reach.next_offset == len(numbered)
    assert folded.repeats == []


def spoilt(shard: TinyShard, seq: int, /, **changed: object) -> list[JournalItem]:
    """The journal with one entry changed, and chained as if nothing was."""
    items, head = [], None
    for it in shard.entries:
        body = it.body if it.seq != seq else encode_entry(msgspec.structs.replace(it.entry, **changed))
        head = link(body, head)
        items.append(JournalItem(it.seq - 1, it.seq, body, head))
    return items


def unbalanced(shard: TinyShard) -> list[JournalItem]:
    items, head = [], None
    for it in shard.entries:
        body = it.body.replace(b'"amount_minor":"3"', b'"amount_minor":"4"') if it.seq == 3 else it.body
        head = link(body, head)
        items.append(JournalItem(it.seq - 1, it.seq, body, head))
    return items


FAULTS: dict[str, tuple[Callable[[TinyShard], list[JournalItem]], str]] = {
    "fed from the middle": (lambda s: items_of(s, 3), "entry 3 comes where entry 1 is due"),
    "a gap": (lambda s: items_of(s)[:2] + items_of(s)[3:], "entry 4 comes where entry 3 is due"),
    "another hash": (
        lambda s: [it._replace(entry_hash=bytes(32)) if it.seq == 3 else it for it in items_of(s)],
        "entry 3 does not continue the chain",
    ),
    "another body": (
        lambda s: [
            it._replace(body=it.body.replace(b"st-0-3", b"st-0-4")) if it.seq == 3 else it for it in items_of(s)
        ],
        "entry 3 does not continue the chain",
    ),
    "an entry that is not balanced": (unbalanced, "entry 3 is not a journal entry"),
    "another sequence inside": (lambda s: spoilt(s, 3, seq="4"), "entry 3 says it is shard 0, seq 4"),
    "another shard inside": (lambda s: spoilt(s, 3, shard=1), "entry 3 says it is shard 1, seq 3"),
    "a rule of posting": (lambda s: spoilt(s, 3, order_id="no order"), "entry 3 breaks a rule of posting in order_id"),
    "no sequence": (lambda s: [it._replace(seq=0) for it in items_of(s)[:1]], "entry 0 comes again"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_this_chain_is_refused_with_a_remedy(fault: str) -> None:
    make, message = FAULTS[fault]
    with pytest.raises(Refused, match=message) as refused:
        fold(ShardReach(0), make(TinyShard().post(5)), NOW)
    assert "finance projection rebuild" in refused.value.remedy


def test_the_journal_of_another_ledger_is_refused_where_it_goes_on_and_where_it_repeats() -> None:
    ours, theirs = items_of(TinyShard().post(6)), items_of(TinyShard(topic="other").post(8))
    place = fold(ShardReach(0), ours, NOW).reach
    with pytest.raises(Refused, match="entry 7 does not continue"):
        fold(place, theirs[6:], NOW)
    with pytest.raises(Refused, match="entry 6 comes again with another hash"):
        fold(place, theirs[5:], NOW)
    assert fold(place, theirs[:3], NOW).repeats == [(it.seq, it.entry_hash) for it in theirs[:3]]


def test_an_entry_of_rules_that_nobody_here_knows_is_waited_for() -> None:
    with pytest.raises(UnknownRules):
        fold(ShardReach(0), spoilt(TinyShard().post(3), 2, rules=NEWEST_RULES + 1), NOW)


def test_an_entry_of_several_currencies_is_read_too() -> None:
    shard = TinyShard().post(2)
    legs = shard.entries[0].entry.lines
    items = spoilt(shard, 2, lines=(*legs, *(msgspec.structs.replace(leg, currency="EUR") for leg in legs)))
    row = fold(ShardReach(0), items, NOW).rows[1]
    assert {leg.currency for leg in row.legs} == {"USD", "EUR"}
    assert sum(leg.amount_minor for leg in row.legs) == 0


@pytest.mark.parametrize(
    ("text", "month"), [("1970-01-01T00:00:00.000000Z", 23640), ("2025-12-31T23:59:59.999999Z", 24311)]
)
def test_a_month_is_that_of_utc(text: str, month: int) -> None:
    assert month_of(time_us(text)) == month
