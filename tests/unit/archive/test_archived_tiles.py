"""Tiles in the archive: there before the manifest whose range completes them, proved before they are stored, checked by
the oracle, and enough for a proof between any two checkpoints. (In memory.)"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ledger_core.archive.archived_trees import ArchivedTrees
from ledger_core.archive.manifest import parse_manifest
from ledger_core.archive.names import tile_key
from ledger_core.errors import Corrupt
from ledger_core.ports import StoredObject
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.proving.tiles import GrowingTiles, TreeName, completed
from ledger_core.tree import consistency_proof, leaf_hashes
from ledger_core.verify.oracle import verify_archive, verify_consistency_of
from tests.simulator.archive import MemoryBucket
from tests.simulator.faults import Faults
from tests.support.archiver_runs import ArchiveBench, proved_bench
from tests.support.journal_factory import TinyShard
from tests.support.receipt_factory import leaves

TREES: Sequence[TreeName] = ("entries", "verdicts")
Place = tuple[int, TreeName, int, int]


def a_shard() -> TinyShard:
    """More than two tiles of entries; verdicts that lie apart, and one tile of them."""
    made = TinyShard().post(3)
    for _ in range(20):
        made.silence(1).post(13)
    return made.silence(280).post(290).silence(1, reason="bad_field")


def bench_of(shard: TinyShard, offsets_max: int = 100, **options: Any) -> ArchiveBench:
    return ArchiveBench(proved_bench(shard, limits=RangeLimits(offsets_max, 10**6)), **options)


def tiles_in(bucket: MemoryBucket) -> dict[str, bytes]:
    return {key: data for key, (_, data) in bucket.held.items() if "/tlog/" in key}


def tiles_of(shard: TinyShard) -> dict[str, bytes]:
    return {
        tile_key("test", shard.shard, tree, tile.level, tile.number): tile.hashes
        for tree in TREES
        for tile in GrowingTiles().extend(leaf_hashes(leaves(shard, tree)))
    }


def test_every_tile_stands_before_the_manifest_of_the_range_that_completes_it() -> None:
    shard = a_shard()
    bench = bench_of(shard)
    bench.run()
    bench.check()
    assert tiles_in(bench.bucket) == tiles_of(shard)
    assert len(tiles_of(shard)) == 3
    stored: list[str] = []
    for key, (_, data) in bench.bucket.held.items():  # in the order in which they came
        if "/tlog/" in key:
            stored.append(key)
        elif "/manifests/" in key:
            held = parse_manifest(data).object.range
            sizes = int(held.last_seq), int(held.next_offset) - int(held.last_seq)
            assert len(stored) == sum(len(completed(0, size)) for size in sizes), key


@pytest.mark.parametrize("offsets_max", [7, 300, 10_000])
def test_any_two_checkpoints_are_compared_from_the_archive_alone(offsets_max: int) -> None:
    shard = a_shard()
    bench = bench_of(shard, offsets_max)
    bench.run()
    notes = [parse_manifest(data).checkpoint.encode() for _, data in sorted(bench.rows.manifests.items())]
    trees = ArchivedTrees(bench.bucket, "test", 0)
    newest = trees.newest()
    assert newest == trees.newest() == notes[-1]
    every = {tree: leaf_hashes(leaves(shard, tree)) for tree in TREES}
    for note in [*notes[:: max(1, len(notes) // 9)], notes[-1]]:
        check = verify_consistency_of(note, newest, trees, bench.registry)
        assert check.report.sound, check.report.findings
        assert check.old is not None
        size, count = check.old.size, check.old.record.verdict_count
        for tree, old in (("entries", size), ("verdicts", count)):
            name: TreeName = "entries" if tree == "entries" else "verdicts"
            proof = tuple(trees.consistency(name, old, len(every[name])))
            assert proof == consistency_proof(every[name], old, len(every[name]))
    assert ArchivedTrees(bench.bucket, "test", 1).newest() is None


def test_a_proof_reads_few_objects_of_a_long_archive() -> None:
    shard = a_shard()
    bench = bench_of(shard, 7)
    bench.run()
    assert len(bench.rows.manifests) > 120
    first = parse_manifest(bench.rows.manifests[0, 1]).checkpoint.encode()
    trees, before = ArchivedTrees(bench.bucket, "test", 0), bench.faults.calls
    newest = trees.newest()
    assert bench.faults.calls - before < 20
    assert verify_consistency_of(first, newest, trees, bench.registry).report.sound
    read = bench.faults.calls - before
    again = bench.faults.calls
    assert verify_consistency_of(first, trees.newest(), trees, bench.registry).report.sound
    assert bench.faults.calls - again < read // 3, "a monitor reads what is new"


def test_every_single_call_may_fail_either_way() -> None:
    shard = TinyShard().post(200).silence(3).post(100)
    calm = bench_of(shard, 150)
    calm.run()
    calm.check()
    assert len(tiles_in(calm.bucket)) == 1
    fired = set[str]()
    for number in range(calm.faults.calls):
        for mode in ("not applied", "applied"):
            bench = bench_of(shard, 150, faults=Faults({number: mode}))
            bench.run()
            bench.check()
            assert tiles_in(bench.bucket) == tiles_in(calm.bucket)
            assert bench.rows.manifests == calm.rows.manifests
            fired |= set(bench.faults.fired)
    assert {f"{name}: {mode}" for name in ("kept", "put") for mode in ("not applied", "applied")} <= fired


def edit(tiles: dict[Place, bytes], place: Place, at: int) -> None:
    hashes = bytearray(tiles[place])
    hashes[at] ^= 1
    tiles[place] = bytes(hashes)


ALTERED: dict[str, Callable[[dict[Place, bytes]], None]] = {
    "a hash of a full tile": lambda tiles: edit(tiles, (0, "entries", 0, 0), 100),
    "a hash of an edge": lambda tiles: edit(tiles, (0, "entries", 0, 2), 0),
    "the edge above": lambda tiles: edit(tiles, (0, "entries", 1, 0), 33),
    "two tiles in each other's place": lambda tiles: tiles.update(
        {(0, "entries", 0, 0): tiles[0, "entries", 0, 1], (0, "entries", 0, 1): tiles[0, "entries", 0, 0]}
    ),
}


@pytest.mark.parametrize("what", ALTERED)
def test_tiles_that_are_not_those_of_the_signed_tree_are_never_stored(what: str) -> None:
    shard = TinyShard().post(520)
    bench = bench_of(shard, 10_000)
    before = dict(bench.proved.world.tiles)
    ALTERED[what](bench.proved.world.tiles)
    bench.run()
    assert (len(bench.rows.objects), len(bench.rows.manifests)) == (1, 0), "the batch is stored, and waits to be listed"
    assert tiles_in(bench.bucket) == {}
    bench.proved.world.tiles.update(before)
    bench.now += 100
    bench.run()
    bench.check()
    assert tiles_in(bench.bucket) == tiles_of(shard)


def test_an_archiver_waits_for_tiles_that_the_prover_makes_again() -> None:
    shard = TinyShard().post(300)
    bench = bench_of(shard, 150)
    made = dict(bench.proved.world.tiles)
    bench.proved.world.tiles.clear()
    bench.run()
    assert (len(bench.rows.objects), len(bench.rows.manifests)) == (2, 1), "the first range completes none"
    bench.proved.world.tiles.update(made)
    bench.run()
    bench.check()


def test_other_bytes_under_a_tiles_name_are_not_taken_for_it() -> None:
    shard = TinyShard().post(300)
    bench = bench_of(shard, 1_000)
    key = tile_key("test", 0, "entries", 0, 0)
    bench.bucket.held[key] = StoredObject(key, "v", 8192, "", None, None), bytes(8192)
    with pytest.raises(Corrupt, match="tile/0/000"):
        bench.run()
    assert bench.rows.manifests == {}


def without(bucket: MemoryBucket, key: str) -> None:
    del bucket.held[key]


def with_other_bytes(bucket: MemoryBucket, key: str) -> None:
    stored, data = bucket.held[key]
    bucket.held[key] = stored, data[::-1]


def with_fewer_bytes(bucket: MemoryBucket, key: str) -> None:
    stored, data = bucket.held[key]
    bucket.held[key] = stored, data[:-32]


def without_lock(bucket: MemoryBucket, key: str) -> None:
    stored, data = bucket.held[key]
    bucket.held[key] = dataclasses.replace(stored, mode=None, retain_until=None), data


def deleted(bucket: MemoryBucket, key: str) -> None:
    stored, data = bucket.held[key]
    bucket.held[key] = dataclasses.replace(stored, size_bytes=-1), data


def beside_another(bucket: MemoryBucket, key: str) -> None:
    stored, data = bucket.held[key]
    for name in ("tile/0/x000/000", "tile/zero", "tile/0/000.p/7"):
        other = key.replace("tile/0/000", name)
        bucket.held[other] = dataclasses.replace(stored, key=other), data


FOUND: dict[Callable[[MemoryBucket, str], None], set[str]] = {
    without: {"archive.missing", "archive.tiles"},
    with_other_bytes: {"archive.tiles"},
    with_fewer_bytes: {"archive.tiles"},
    without_lock: {"archive.retention"},
    deleted: {"archive.delete_marker", "archive.missing", "archive.tiles"},
    beside_another: {"archive.key"},
}


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("attack", FOUND, ids=lambda it: str(it.__name__))
def test_the_oracle_names_what_is_wrong_with_a_tile(
    attack: Callable[[MemoryBucket, str], None], tree: TreeName
) -> None:
    bench = bench_of(a_shard())
    bench.run()
    report = verify_archive(bench.bucket, "test", bench.registry)
    assert report.sound, report.findings
    assert report.counts["tiles"] == 3
    attack(bench.bucket, tile_key("test", 0, tree, 0, 0))
    found = verify_archive(bench.bucket, "test", bench.registry).findings
    assert {it.code for it in found} == FOUND[attack], found
    assert all("/tlog/" in str(it.place) for it in found)
