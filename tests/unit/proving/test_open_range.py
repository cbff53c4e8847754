"""The growing range: where it is cut, what it refuses, and what a closed range accounts for."""

from __future__ import annotations

import datetime as dt
import gc
import tracemalloc
from typing import Any

import msgspec
import pytest

from ledger_core.books.entries import encode_entry
from ledger_core.books.rule_versions import NEWEST_RULES, UnknownRules
from ledger_core.chain import link
from ledger_core.errors import Corrupt, Unavailable
from ledger_core.proving.closed_range import ClosingTerms, Cut, close_range
from ledger_core.proving.open_range import OpenRange
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.proving.range_proof import parse_payload
from ledger_core.tree import CompactRange, leaf_hash, leaf_hashes, root_of
from tests.support.journal_factory import TinyShard

LIMITS = RangeLimits(offsets_max=10, window_seconds=60)


def cuts_of(shard: TinyShard, *, limits: RangeLimits = LIMITS, idle: bool = False) -> list[Cut]:
    growing = OpenRange.resume(TinyShard(first_offset=shard.first_offset).position(), None, limits)
    cuts: list[Cut] = []
    for number, item in enumerate(shard.entries):
        cuts += growing.take(number, item.seq, item.body, item.entry_hash)
    if idle:
        cuts += growing.idle(shard.position())
    return cuts


def spans(cuts: Any) -> list[tuple[int, int, int, int]]:
    return [(cut.first_seq, cut.last_seq, cut.first_offset, cut.next_offset) for cut in cuts]


def terms(range_no: int = 1, prev: str | None = None) -> ClosingTerms:
    moment = dt.datetime(2025, 11, 1, tzinfo=dt.UTC)
    return ClosingTerms("test", "example.com/finance/test/ledger/0", range_no, prev, "k", "ed25519", "ab" * 16, moment)


def test_range_closes_at_the_count_of_offsets_as_soon_as_it_is_full() -> None:
    assert spans(cuts_of(TinyShard().post(9))) == []
    assert spans(cuts_of(TinyShard().post(25))) == [(1, 10, 0, 10), (11, 20, 10, 20)]


def test_verdicts_count_towards_the_limit_and_a_long_silence_makes_ranges_without_entries() -> None:
    shard = TinyShard().post(2).silence(31).post(1)
    assert spans(cuts_of(shard, idle=True)) == [(1, 2, 0, 10), (3, 2, 10, 20), (3, 2, 20, 30), (3, 3, 30, 34)]


def test_an_entry_of_rules_that_nobody_here_knows_is_waited_for_and_is_not_corrupt() -> None:
    shard = TinyShard().post(3)
    item = shard.entries[2]
    body = encode_entry(msgspec.structs.replace(item.entry, rules=NEWEST_RULES + 1))
    growing = OpenRange.resume(TinyShard().position(), None, LIMITS)
    block = [(number, it.seq, it.body, it.entry_hash) for number, it in enumerate(shard.entries[:2])]
    block.append((2, 3, body, link(body, shard.entries[1].entry_hash)))
    with pytest.raises(UnknownRules, match="this version of finance knows rules 1 to"):
        list(growing.take_block(block))


def test_range_closes_before_the_entry_beyond_its_window() -> None:
    shard = TinyShard().post(2, seconds=0).post(1, seconds=60).silence(2).post(1, seconds=60.001).post(1, seconds=70)
    assert spans(cuts_of(shard, idle=True)) == [(1, 3, 0, 5), (4, 5, 5, 7)]


def test_window_is_measured_from_the_first_entry_of_the_range() -> None:
    shard = TinyShard().post(1, seconds=0).post(1, seconds=61).post(1, seconds=120).post(1, seconds=122)
    assert spans(cuts_of(shard)) == [(1, 1, 0, 1), (2, 3, 1, 3)]


def test_range_closes_with_the_entry_that_makes_it_weigh_what_it_may_however_it_is_read() -> None:
    shard = TinyShard().post(9)
    sizes = [len(item.body) for item in shard.entries]
    limits = RangeLimits(offsets_max=100, window_seconds=60, bytes_max=sum(sizes[:3]))
    assert spans(cuts_of(shard, limits=limits, idle=True)) == [(1, 3, 0, 3), (4, 6, 3, 6), (7, 9, 6, 9)]
    items = [(number, item.seq, item.body, item.entry_hash) for number, item in enumerate(shard.entries)]
    for at_once in range(1, 10):
        growing = OpenRange.resume(TinyShard().position(), None, limits)
        cuts = [cut for at in range(0, 9, at_once) for cut in growing.take_block(items[at : at + at_once])]
        assert spans([*cuts, *growing.idle(shard.position())]) == [(1, 3, 0, 3), (4, 6, 3, 6), (7, 9, 6, 9)]


def test_announced_ranges_end_where_they_did_whatever_they_weigh() -> None:
    shard = TinyShard().post(9)
    limits = RangeLimits(offsets_max=100, window_seconds=60, bytes_max=1)
    growing = OpenRange.resume(TinyShard().position(), None, limits, [4, 7])
    items = [(number, item.seq, item.body, item.entry_hash) for number, item in enumerate(shard.entries)]
    assert spans(growing.take_block(items)) == [(1, 4, 0, 4), (5, 7, 4, 7), (8, 8, 7, 8), (9, 9, 8, 9)]


def test_idle_closes_trailing_offsets_that_posted_nothing() -> None:
    assert spans(cuts_of(TinyShard().post(2).silence(3), idle=True)) == [(1, 2, 0, 5)]
    assert spans(cuts_of(TinyShard(first_offset=7).silence(3), idle=True)) == [(1, 0, 7, 10)]
    assert spans(cuts_of(TinyShard(), idle=True)) == []


def test_idle_covers_only_offsets_whose_entries_were_all_seen() -> None:
    shard = TinyShard().post(2).silence(1).post(1)
    growing = OpenRange.resume(shard.position(), None, LIMITS)
    for number, item in enumerate(shard.entries[:2]):
        growing.take(number, item.seq, item.body, item.entry_hash)
    assert spans(growing.idle(shard.position())) == [(1, 2, 0, 2)]
    assert growing.idle(shard.position()) == []


def test_repeated_sequences_are_skipped() -> None:
    shard = TinyShard().post(3)
    growing = OpenRange.resume(shard.position(), None, LIMITS)
    for number, item in enumerate([*shard.entries, *shard.entries]):
        growing.take(number, item.seq, item.body, item.entry_hash)
    (cut,) = growing.idle(shard.position())
    assert (cut.last_seq, cut.journal_offset) == (3, 6)


def test_an_open_range_takes_little_memory_however_many_entries_it_has() -> None:
    """A prover has one of each shard that it owns."""
    shard = TinyShard().post(4_000)
    records = [(item.seq - 1, item.seq, item.body, item.entry_hash) for item in shard.entries]
    growing = OpenRange.resume(shard.position(), None, RangeLimits(10_000, 3600))
    tracemalloc.start()
    list(growing.take_block(records))
    assert len(growing.drain()) == 4_000, "as the prover does for its live checkpoints, each second"
    for number, item in enumerate(TinyShard().post(8_000).entries[4_000:], 4_000):
        growing.take(number, item.seq, item.body, item.entry_hash)
    assert growing.drain() == leaf_hashes([item.body for item in TinyShard().post(8_000).entries[4_000:]])
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 150_000, "hashes of all its entries are 600 kB"


def test_cut_holds_tree_head_totals_and_times_of_its_entries() -> None:
    shard = TinyShard().post(3, seconds=5).post(1, seconds=2, currency="EUR")
    (cut,) = cuts_of(shard, idle=True)
    assert cut.tree.root() == root_of(leaf_hash(item.body) for item in shard.entries)
    assert (cut.prev_hash, cut.head_hash) == (None, shard.entries[-1].entry_hash)
    assert cut.totals == {"USD": 101 + 102 + 103, "EUR": 104}
    assert (cut.from_ts, cut.to_ts) == ("2025-11-01T00:00:02.000000Z", "2025-11-01T00:00:05.000000Z")


def test_a_resumed_range_goes_on_where_the_closed_one_ended() -> None:
    shard = TinyShard().post(25)
    whole = cuts_of(shard)
    closed = close_range(whole[0], [], terms(), CompactRange())
    growing = OpenRange.resume(shard.position(), closed, LIMITS)
    cuts = [
        cut for item in shard.entries[10:] for cut in growing.take(item.seq - 1, item.seq, item.body, item.entry_hash)
    ]
    assert cuts == whole[1:]


def taken(shard: TinyShard, place: int, **change: Any) -> None:
    growing = OpenRange.resume(shard.position(), None, LIMITS)
    for item in shard.entries[: place - 1]:
        growing.take(item.seq - 1, item.seq, item.body, item.entry_hash)
    item = shard.entries[place - 1]
    fields: dict[str, Any] = {
        "journal_offset": place - 1,
        "seq": item.seq,
        "body": item.body,
        "entry_hash": item.entry_hash,
    } | change
    growing.take(**fields)


def test_a_gap_is_corrupt_and_names_both_sequences() -> None:
    shard = TinyShard().post(3)
    with pytest.raises(Corrupt, match="from seq 1 to 3"):
        taken(shard, 2, seq=3, body=shard.entries[2].body, entry_hash=shard.entries[2].entry_hash)


def test_a_body_or_hash_that_does_not_continue_the_chain_is_corrupt() -> None:
    shard = TinyShard().post(3)
    with pytest.raises(Corrupt, match="seq 2: entry_hash"):
        taken(shard, 2, entry_hash=b"\0" * 32)
    with pytest.raises(Corrupt, match="seq 2: entry_hash"):
        taken(shard, 2, body=shard.entries[1].body.replace(b"order-2", b"order-9"))


VALUE = {"value_sha256": "5e" * 32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seq": "7"}, "says it is shard 0, seq 7"),
        ({"shard": 5}, "says it is shard 5"),
        ({"source": {"offset": "0", "partition": 0, "topic": "finance.settlements", **VALUE}}, "offset 0 is not after"),
        ({"source": {"offset": "1", "partition": 0, "topic": "other", **VALUE}}, "source other"),
        ({"source": {"offset": "1", "partition": 3, "topic": "finance.settlements", **VALUE}}, "says it is"),
        ({"version": 2}, "not a journal entry"),
    ],
)
def test_an_entry_in_the_wrong_place_is_corrupt_even_when_chained(change: dict[str, Any], message: str) -> None:
    shard = TinyShard().post(2)
    document = msgspec.json.decode(shard.entries[1].body) | change
    body = msgspec.json.encode(document, order="sorted")
    with pytest.raises(Corrupt, match=message):
        taken(shard, 2, body=body, entry_hash=link(body, shard.entries[0].entry_hash))


def test_an_unbalanced_entry_is_corrupt_even_when_chained() -> None:
    shard = TinyShard().post(1)
    body = encode_entry(shard.entries[0].entry).replace(b'"amount_minor":"101"', b'"amount_minor":"102"')
    with pytest.raises(Corrupt, match="unbalanced"):
        taken(shard, 1, body=body, entry_hash=link(body, None))


def test_a_database_behind_the_journal_is_waited_for_and_one_beside_it_is_corrupt() -> None:
    shard = TinyShard().post(3)
    growing = OpenRange.resume(shard.position(), None, LIMITS)
    for item in shard.entries:
        growing.take(item.seq - 1, item.seq, item.body, item.entry_hash)
    with pytest.raises(Unavailable, match="Postgres 2 so far"):
        growing.idle(TinyShard().post(2).position())
    with pytest.raises(Corrupt, match="different heads"):
        growing.idle(TinyShard().post(2).post(1, seconds=1).position())


def test_closed_range_accounts_for_every_offset() -> None:
    shard = TinyShard().post(2).silence(2).silence(1, reason="unbalanced")
    (cut,) = cuts_of(shard, idle=True)
    lines = shard.verdict_lines(0, 5)
    source = parse_payload(close_range(cut, lines, terms(), CompactRange()).payload).shards[0].source
    assert (source.posted, source.duplicates, source.rejected) == ("2", "2", "1")
    for wrong in (lines[:-1], lines[::-1], [*lines, lines[-1]]):
        with pytest.raises(Corrupt, match="offset"):
            close_range(cut, wrong, terms(), CompactRange())


def test_closed_ranges_of_a_shard_chain_by_their_hash() -> None:
    first, second = cuts_of(TinyShard().post(20))
    closed = close_range(first, [], terms(), CompactRange())
    follower = close_range(second, [], terms(2, closed.hash.hex()), CompactRange())
    assert parse_payload(follower.payload).prev_proof_hash == closed.hash.hex()
    assert close_range(second, [], terms(2), CompactRange()).hash != follower.hash
