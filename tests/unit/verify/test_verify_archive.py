"""What can happen to an archive, and how the oracle names it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
from typing import Any

import msgspec
import pytest

from ledger_core.archive.manifest import parse_manifest
from ledger_core.archive.names import manifest_key
from ledger_core.books.entries import JournalEntry, encode_entry
from ledger_core.chain import link
from ledger_core.findings import Collector
from ledger_core.proving.checkpoint import record_text
from ledger_core.tree import CompactRange, leaf_hash
from ledger_core.verify.event_ids import EventIds, pack_ids
from ledger_core.verify.oracle import ArchiveHead, Position, verify_archive, verify_batch
from tests.support.archive_factory import (
    ENV,
    ArchiveMaker,
    Key,
    MemoryStore,
    archive_of,
    checkpoint_text,
    closed_of,
    cut_of,
)
from tests.support.journal_factory import TinyEntry, TinyShard

KEY = Key("ed25519")
CUTS = [(5, 6), (12, 14), (12, 16), (15, 20)]

Archive = tuple[MemoryStore, list[str]]  # and the keys of its batches, in their order


@pytest.fixture
def archive() -> Archive:
    store = MemoryStore()
    shard = TinyShard().post(5).silence(2).post(7).silence(3, reason="malformed").post(3).silence(4)
    keys = archive_of(shard, CUTS, KEY, store)
    archive_of(TinyShard(1).silence(3), [(0, 3)], KEY, store)
    return store, keys


def codes(store: MemoryStore, **options: Any) -> set[tuple[str, str | None]]:
    report = verify_archive(store, ENV, KEY.registry, **options)
    return {(finding.code, finding.place) for finding in report.findings}


def test_a_whole_archive_is_sound_and_counted(archive: Archive) -> None:
    report = verify_archive(archive[0], ENV, KEY.registry)
    assert report.findings == ()
    assert report.counts == {
        "manifests": 5,
        "signatures": 15,
        "checkpoints": 5,
        "objects": 5,
        "entries": 15,
        "verdicts": 8,
        "references": 2,
        "proofs": 5,
        "ranges": 5,
        "batches": 5,
    }


def test_a_delete_marker_and_a_second_version_shadow_an_object(archive: Archive) -> None:
    store, keys = archive
    store.delete(keys[1])
    assert codes(store) == {("archive.delete_marker", keys[1])}
    store.add(keys[2], store.get(keys[2]))
    assert codes(store) == {("archive.delete_marker", keys[1]), ("archive.shadowed", keys[2])}


def test_a_lost_object_is_named_and_what_follows_is_still_checked(archive: Archive) -> None:
    store, keys = archive
    del store.objects[keys[1]]
    assert codes(store) == {("archive.missing", keys[1])}
    report = verify_archive(store, ENV, KEY.registry)
    assert report.counts["entries"] == 8
    assert report.counts["roots_unchecked"] == 2


def test_an_object_put_in_place_of_another_is_named(archive: Archive) -> None:
    store, keys = archive
    store.replace(keys[1], store.get(keys[0]))
    assert all(place == keys[1] for _, place in codes(store))
    assert ("batch.gap", keys[1]) in codes(store)


def test_other_gzip_of_the_same_lines_is_not_the_stored_object(archive: Archive) -> None:
    store, keys = archive
    store.replace(keys[0], gzip.compress(gzip.decompress(store.get(keys[0]))))
    assert codes(store) == {("archive.object", keys[0])}


def test_a_lost_manifest_is_a_gap_and_at_the_end_the_head_tells(archive: Archive) -> None:
    store, keys = archive
    last = manifest_key(ENV, 0, 4)
    head = ArchiveHead(0, 4, parse_manifest(store.get(last)).hash)
    assert codes(store, expected=[head]) == set()
    del store.objects[last]
    report = verify_archive(store, ENV, KEY.registry)
    assert report.sound  # the archiver may be about to write it: nobody can tell from here
    assert report.counts["objects_not_listed_yet"] == 1
    assert codes(store, expected=[head]) == {("archive.truncated", None)}
    del store.objects[manifest_key(ENV, 0, 2)]
    assert "archive.manifest_gap" in {code for code, _ in codes(store)}
    assert ("archive.unlisted", keys[1]) in codes(store)


def relocked(store: MemoryStore, key: str, **changes: Any) -> None:
    (stored, data), *rest = store.objects[key]
    store.objects[key] = [(dataclasses.replace(stored, **changes), data), *rest]


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "GOVERNANCE"},
        {"mode": None},
        {"retain_until": None},
        {"retain_until": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)},
    ],
)
def test_a_weaker_lock_is_found_and_a_longer_one_is_welcome(archive: Archive, changes: dict[str, Any]) -> None:
    store, keys = archive
    relocked(store, keys[0], retain_until=dt.datetime(2040, 1, 1, tzinfo=dt.UTC))
    assert codes(store) == set()
    relocked(store, keys[0], **changes)
    assert codes(store) == {("archive.retention", keys[0])}


def test_other_object_metadata_is_found(archive: Archive) -> None:
    store, keys = archive
    relocked(store, keys[0], metadata={"first-seq": "2"})
    assert codes(store) == {("archive.object", keys[0])}


def test_an_object_that_no_manifest_lists_is_found(archive: Archive) -> None:
    store, keys = archive
    extra = keys[1].replace("offsets-0000000000000000006", "offsets-0000000000000000007")
    store.add(extra, store.get(keys[1]))
    store.add(f"{ENV}/manifests/shard-00000/notes.json", b"{}")
    store.add(f"{ENV}/batches/readme.txt", b"hello")
    assert codes(store) == {
        ("archive.unlisted", extra),
        ("archive.key", f"{ENV}/manifests/shard-00000/notes.json"),
        ("archive.key", f"{ENV}/batches/readme.txt"),
    }


def test_an_empty_archive_proves_nothing(archive: Archive) -> None:
    assert {code for code, _ in codes(MemoryStore())} == {"archive.empty"}
    report = verify_archive(archive[0], "production", KEY.registry)
    assert [finding.code for finding in report.findings] == ["archive.empty"]
    heads = [ArchiveHead(7, 1, "0" * 64)]
    assert "archive.truncated" in {code for code, _ in codes(archive[0], expected=heads)}


def test_a_batch_alone_is_checked_and_says_what_it_could_not_check(archive: Archive) -> None:
    store, keys = archive
    first = verify_batch(store.get(keys[0]), KEY.registry)
    assert first.sound
    assert "roots_unchecked" not in first.counts
    second = verify_batch(store.get(keys[1]), KEY.registry)
    assert second.sound
    assert second.counts["roots_unchecked"] == 1
    plain = verify_batch(gzip.decompress(store.get(keys[1])), KEY.registry)
    assert plain == second
    position = Position(0)
    assert verify_batch(store.get(keys[0]), KEY.registry, position=position).sound
    assert "roots_unchecked" not in verify_batch(store.get(keys[1]), KEY.registry, position=position).counts


@pytest.mark.parametrize("cut", [1, 20, -1, -30])
def test_a_cut_or_lengthened_batch_is_a_finding(archive: Archive, cut: int) -> None:
    store, keys = archive
    data = store.get(keys[0])
    assert not verify_batch(data[:cut], KEY.registry).sound
    assert not verify_batch(gzip.decompress(data)[:cut], KEY.registry).sound
    assert not verify_batch(data + b"x", KEY.registry).sound
    assert not verify_batch(data + data, KEY.registry).sound
    assert not verify_batch(b"", KEY.registry).sound


def test_lines_left_out_are_named_by_their_offset(archive: Archive) -> None:
    store, keys = archive
    lines = gzip.decompress(store.get(keys[1])).split(b"\n")
    verdict = next(line for line in lines if b'"offset":"6"' in line and b"verdict" in line)
    report = verify_batch(b"\n".join(line for line in lines if line != verdict), KEY.registry)
    assert not report.sound
    fewer = [line.replace(b'"verdicts":"', b'"verdicts":"0') if not at else line for at, line in enumerate(lines)]
    assert not verify_batch(b"\n".join(fewer), KEY.registry).sound


def test_a_proof_that_claims_a_quintillion_offsets_costs_nothing(archive: Archive) -> None:
    store, keys = archive
    lines = gzip.decompress(store.get(keys[0])).split(b"\n")
    huge = lines[-2].replace(b'"next_offset":"6"', b'"next_offset":"1000000000000000006"')
    huge = huge.replace(b'"duplicates":"1"', b'"duplicates":"1000000000000000001"')
    assert not verify_batch(b"\n".join([*lines[:-2], huge, b""]), KEY.registry).sound


def test_one_event_id_in_two_entries_is_named_across_ranges_and_shards() -> None:
    store = MemoryStore()
    archive_of(TinyShard().post(4), [(2, 2), (4, 4)], KEY, store)
    twin = TinyShard(1).silence(2)
    twin.post(1)
    copied = TinyShard(0, first_offset=2).post(1).entries[0].entry.event_id  # what the first shard has at offset 2
    entry = twin.entries[0].entry
    twin.entries.clear()
    twin.head, twin.next_offset = None, 2
    take(twin, msgspec.structs.replace(entry, event_id=copied))
    archive_of(twin, [(1, 3)], KEY, store)
    report = verify_archive(store, ENV, KEY.registry)
    assert [(found.code, copied in found.message) for found in report.findings] == [("archive.event_id", True)]
    limited = verify_archive(store, ENV, KEY.registry, event_ids_max=4)
    assert limited.sound
    assert limited.counts["event_ids_unchecked"] == 1


def take(shard: TinyShard, entry: JournalEntry) -> None:
    body = encode_entry(entry)
    shard.head = link(body, shard.head)
    shard.entries.append(TinyEntry(int(entry.seq), body, shard.head, shard.next_offset, entry))
    shard.next_offset += 1


def test_event_ids_are_compared_in_parts_of_bounded_size() -> None:
    lines = [encode_entry(item.entry) for item in TinyShard().post(300).entries]
    ids, found = EventIds(), Collector()
    packed = pack_ids(lines)
    assert len(packed) == 16 * len(lines)
    for _ in range(20):
        ids.add(packed[:16])
        ids.add(packed[16:] if _ == 7 else b"")
    ids.check(found)
    assert len(found) == 19
    assert pack_ids([lines[0], b"{}", lines[1]]) == packed[:32]


def test_a_manifest_whose_own_lock_is_shorter_is_found(archive: Archive) -> None:
    store, _ = archive
    key = manifest_key(ENV, 0, 2)
    relocked(store, key, retain_until=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    assert codes(store) == {("archive.retention", key)}


def test_a_checkpoint_of_another_root_in_a_manifest_is_found() -> None:
    store = MemoryStore()
    shard = TinyShard().post(3)
    cut = cut_of(shard, None, 3, 3)
    closed = closed_of(cut, shard, KEY, 1, None)
    text = checkpoint_text(f"example.com/finance/{ENV}/ledger/0", 3, b"\1" * 32)
    maker = ArchiveMaker(store, KEY)
    key = maker.add(dataclasses.replace(closed, checkpoint_text=text), [item.body for item in shard.entries], [])
    assert codes(store) == {("checkpoint.root", key)}
    other = MemoryStore()
    text = checkpoint_text("example.com/finance/other/ledger/0", 2, cut.tree.root())
    ArchiveMaker(other, KEY).add(
        dataclasses.replace(closed, checkpoint_text=text), [item.body for item in shard.entries], []
    )
    assert codes(other) == {("checkpoint.origin", key)}


@pytest.mark.parametrize(
    ("first_offset", "verdicts", "expected"),
    [
        (0, 2, set()),
        (0, 3, {"checkpoint.size"}),
        (2, 0, {"checkpoint.verdicts"}),
    ],
)
def test_a_checkpoint_of_other_verdicts_in_a_manifest_is_found(
    first_offset: int, verdicts: int, expected: set[str]
) -> None:
    store, shard = MemoryStore(), TinyShard().post(3).silence(2)
    cut = cut_of(shard, None, 3, 5)
    closed = closed_of(cut, shard, KEY, 1, None)
    tree = CompactRange().extend([leaf_hash(line) for line in [*shard.verdict_lines(0, 5), b"more"][:verdicts]])
    text = record_text(f"example.com/finance/{ENV}/ledger/0", first_offset, cut.tree, tree)
    changed = dataclasses.replace(closed, checkpoint_text=text)
    ArchiveMaker(store, KEY).add(changed, [item.body for item in shard.entries], shard.verdict_lines(0, 5))
    assert {code for code, _ in codes(store)} == expected


def test_a_batch_behind_the_newest_manifest_is_verified_too(archive: Archive) -> None:
    store, keys = archive
    del store.objects[manifest_key(ENV, 0, 4)]
    report = verify_archive(store, ENV, KEY.registry)
    assert report.sound
    assert report.counts["entries"] == 15
    store.replace(keys[3], store.get(keys[2]))
    assert {place for _, place in codes(store)} == {keys[3]}
