"""What refers to an entry names one that its shard posted before; the oracle names what does not."""

from __future__ import annotations

import msgspec
import pytest

from ledger_core.books.entries import JournalEntry, encode_entry
from ledger_core.chain import link
from ledger_core.errors import RejectReason
from ledger_core.posting.verdicts import NOTHING_READ, VerdictLine, encode_verdict
from ledger_core.verify.oracle import verify_archive
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of
from tests.support.journal_factory import TinyEntry, TinyShard

KEY = Key("ed25519")


def take(shard: TinyShard, entry: JournalEntry) -> None:
    body = encode_entry(entry)
    shard.head = link(body, shard.head)
    shard.entries.append(TinyEntry(int(entry.seq), body, shard.head, shard.next_offset, entry))
    shard.next_offset += 1


def reversing(shard: TinyShard, event_id: str) -> TinyShard:
    """One entry more, which reverses `event_id`."""
    before = shard.head
    entry = shard.post(1).entries.pop().entry
    shard.head, shard.next_offset = before, shard.next_offset - 1
    take(shard, msgspec.structs.replace(entry, reverses=event_id))
    return shard


def repeating(shard: TinyShard, event_id: str) -> TinyShard:
    """One duplicate of `event_id`."""
    offset = shard.next_offset
    line = VerdictLine(
        content_hash="ab" * 32,
        event_id=event_id,
        key_sha256="cd" * 32,
        offset=str(offset),
        reason="already_posted",
        value_sha256="5e" * 32,
        verdict="duplicate",
    )
    shard.verdicts[offset] = encode_verdict(line)
    shard.next_offset += 1
    return shard


def ids(shard: int, count: int) -> list[str]:
    return [item.entry.event_id for item in TinyShard(shard).post(count).entries]


def findings(
    *shards: tuple[TinyShard, list[tuple[int, int]]], **limits: int
) -> list[tuple[str, int | None, int | None]]:
    store = MemoryStore()
    for shard, cuts in shards:
        archive_of(shard, cuts, KEY, store)
    report = verify_archive(store, ENV, KEY.registry, **limits)  # type: ignore[arg-type]
    return [(found.code, found.shard, found.seq) for found in report.findings]


def test_reversals_and_duplicates_of_entries_before_them_are_sound_and_counted() -> None:
    first, second, third = ids(0, 3)
    shard = repeating(reversing(TinyShard().post(3), second), first)
    repeating(reversing(shard, third), second)
    store = MemoryStore()
    archive_of(shard, [(3, 3), (4, 5), (5, 7)], KEY, store)
    report = verify_archive(store, ENV, KEY.registry)
    assert report.findings == ()
    assert report.counts["references"] == 4


@pytest.mark.parametrize("refer", [reversing, repeating])
def test_what_names_an_entry_that_is_nowhere_is_found(refer: object) -> None:
    assert callable(refer)
    shard = refer(TinyShard().post(2), ids(7, 1)[0])
    cuts = [(len(shard.entries), shard.next_offset)]
    assert findings((shard, cuts)) == [("archive.reference", 0, 3)]


@pytest.mark.parametrize("refer", [reversing, repeating])
def test_what_names_an_entry_of_another_shard_is_found(refer: object) -> None:
    assert callable(refer)
    shard = refer(TinyShard(1).post(2), ids(0, 1)[0])
    cuts = [(len(shard.entries), shard.next_offset)]
    assert findings((TinyShard().post(2), [(2, 2)]), (shard, cuts)) == [("archive.reference", 1, 3)]


def test_what_names_an_entry_that_comes_later_is_found_also_within_a_range() -> None:
    later = TinyShard().post(2).silence().post(1).entries[-1].entry.event_id
    shard = repeating(TinyShard().post(2), later).post(1)
    assert findings((shard, [(3, 4)])) == [("archive.reference", 0, 3)]


def test_an_entry_does_not_reverse_itself() -> None:
    itself = ids(0, 3)[-1]
    assert findings((reversing(TinyShard().post(2), itself), [(3, 3)])) == [("archive.reference", 0, 3)]


def test_references_beyond_the_limit_are_counted_and_never_passed_silently() -> None:
    shard = TinyShard().post(2)
    for _ in range(3):
        reversing(shard, ids(0, 1)[0])
    store = MemoryStore()
    archive_of(shard, [(5, 5)], KEY, store)
    limited = verify_archive(store, ENV, KEY.registry, references_max=2)
    assert limited.sound
    assert (limited.counts["references"], limited.counts["references_unchecked"]) == (2, 1)
    unknown = verify_archive(store, ENV, KEY.registry, event_ids_max=4)
    assert unknown.sound
    assert unknown.counts["references_unchecked"] == 3


def rejecting(shard: TinyShard, event_id: str, reason: str) -> TinyShard:
    """One rejection under `event_id`."""
    offset = shard.next_offset
    line = VerdictLine(content_hash="ab" * 32, event_id=event_id, offset=str(offset), reason=reason, verdict="rejected")
    shard.verdicts[offset] = encode_verdict(line)
    shard.next_offset += 1
    return shard


@pytest.mark.parametrize("reason", sorted({it.value for it in RejectReason} - NOTHING_READ))
def test_what_was_rejected_is_not_posted_behind_it_under_the_same_event_id(reason: str) -> None:
    before = rejecting(TinyShard().post(2), ids(0, 4)[3], reason)  # the shard posts it next, at offset 3
    assert before.post(1).entries[-1].entry.event_id == ids(0, 4)[3]
    assert findings((before, [(2, 3), (3, 4)])) == [("archive.verdict", 0, 3)]
    behind = rejecting(TinyShard().post(3), ids(0, 1)[0], reason)
    elsewhere = rejecting(TinyShard().post(3), ids(7, 1)[0], reason)
    for sound in (behind, elsewhere):
        assert findings((sound.post(1), [(3, 4), (4, 5)])) == []
