"""Live checkpoints: each is a function of the record alone, whatever was restarted, lost or away."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from consumers.proving.live_checkpoints import CATCH_UP_ENTRIES
from ledger_core.proving import checkpoint
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.proving.tiles import TiledTree, TreeName, completed
from ledger_core.tree import inclusion_proof, leaf_hashes, root_of
from ledger_core.verify.oracle import verify_receipt
from tests.simulator.faults import Faults
from tests.simulator.proving import MemoryProofs, MemoryTileStore
from tests.support.journal_factory import TinyShard
from tests.support.prover_runs import Bench
from tests.support.receipt_factory import leaves

TREES: Sequence[TreeName] = ("entries", "verdicts")


def a_shard() -> TinyShard:
    made = TinyShard(first_offset=7)
    for _ in range(60):
        made.post(9).silence(11)
    return made.post(1)


def bench(shard: TinyShard, per_range: int = 100_000, **changes: object) -> Bench:
    world = MemoryProofs({shard.shard: shard})
    return Bench(world, RangeLimits(per_range, 60), **changes)  # type: ignore[arg-type]


def check_live(made: Bench, shard: TinyShard, *, whole: bool = True) -> None:
    """The newest live checkpoint is that of a prefix of the record, and its trees are in tiles."""
    live = made.world.live[shard.shard]
    kept, _ = checkpoint.parse_and_verify(
        live.note, made.registry, origin=f"example.com/finance/test/ledger/{shard.shard}"
    )
    assert (kept.size, kept.record.verdict_count, kept.record.next_offset) == live[:3]
    held = [
        [item.body for item in shard.entries if item.offset < live.next_offset],
        shard.verdict_lines(shard.first_offset, live.next_offset),
    ]
    assert not whole or live.next_offset == shard.next_offset
    assert [kept.root, kept.record.verdict_root] == [root_of(leaf_hashes(it)) for it in held]
    store = MemoryTileStore(made.world, Faults())
    for tree, of_tree, size in zip(TREES, held, live[:2], strict=True):
        hashes = leaf_hashes(of_tree)
        tiled = TiledTree(size, store.reader(shard.shard, tree))
        for index in {0, size // 2, size - 1} if size else ():
            assert tiled.inclusion_proof(index) == inclusion_proof(hashes, index, size)
        full = {place for place in made.world.tiles if place[1] == tree and len(made.world.tiles[place]) == 8192}
        assert {place[2:] for place in full} == set(completed(0, size))


@pytest.mark.parametrize("per_range", [7, 100, 100_000])
@pytest.mark.parametrize("poll_max", [1, 50, 1000])
def test_the_newest_one_is_that_of_the_whole_record(per_range: int, poll_max: int) -> None:
    shard = a_shard()
    made = bench(shard, per_range, poll_max=poll_max)
    made.run(5000)
    check_live(made, shard)


def test_one_is_signed_an_interval_and_none_while_nothing_is_new() -> None:
    shard = a_shard()
    made = bench(shard, poll_max=1, second=0.1)
    prover = made.build()
    notes = set()
    for _ in range(100):
        made.now += 0.1
        prover.step()
        notes |= {live.note for live in made.world.live.values()}
    assert 9 <= len(notes) <= 11
    made.run()
    note = made.world.live[0].note
    made.run()
    assert made.world.live[0].note == note


def test_it_does_not_wait_for_its_range() -> None:
    shard = TinyShard().post(5)
    made = bench(shard, second=0.4)
    prover = made.build()
    for _ in range(3):
        made.now += made.second
        prover.step()
    assert not made.world.ranges
    check_live(made, shard)
    assert not made.world.intents, "and is not an audit event"


def test_a_restart_signs_the_same_texts_whatever_was_signed_before() -> None:
    shard = a_shard()
    made = bench(shard, 100, poll_max=40)
    for steps in (3, 1, 7, 2, 9, 30):
        prover = made.build()
        for _ in range(steps):
            made.now += 1
            prover.step()
        if made.world.live:
            check_live(made, shard, whole=False)
    made.run()
    check_live(made, shard)


def test_tiles_that_are_missing_are_made_again_from_the_journal() -> None:
    """As behind a rebuild, which leaves none."""
    shard = a_shard()
    made = bench(shard, 100)
    made.run()
    before = dict(made.world.tiles)
    made.world.tiles.clear()
    made.world.live.clear()
    made.run()
    check_live(made, shard)
    assert made.world.tiles == before


def test_many_are_made_again_a_piece_at_a_time() -> None:
    shard = TinyShard().post(CATCH_UP_ENTRIES + 300).silence(3)
    made = bench(shard, 10_000)
    made.run()
    made.world.tiles.clear()
    made.world.live.clear()
    made.run()
    check_live(made, shard)


def test_tiles_of_another_tree_are_refused_and_ranges_go_on() -> None:
    shard = a_shard()
    made = bench(shard, 100)
    made.run()
    place: tuple[int, TreeName, int, int] = (0, "entries", 0, 0)
    made.world.tiles[place] = b"\0" * 32 + made.world.tiles[place][32:]
    made.world.live.clear()
    ranges = len(made.world.ranges[0])
    shard.post(200)
    made.journal[0] = shard.journal()
    made.run()
    assert len(made.world.ranges[0]) > ranges
    tile: tuple[int, TreeName, int, int] = (0, "entries", 1, 0)
    made.world.tiles[tile] = b"\0" * 32 + made.world.tiles[tile][32:]
    note = made.world.live[0].note
    shard.post(300)
    made.journal[0] = shard.journal()
    made.run()
    assert made.world.live[0].note == note
    assert made.world.ranges[0][-1].next_offset == shard.next_offset


def test_a_signer_that_is_away_stops_them_and_they_come_when_it_is_back() -> None:
    shard = a_shard()
    made = bench(shard, faults=Faults(away={"signer"}))
    prover = made.build()
    for _ in range(40):
        made.now += 1
        prover.step()
    assert not made.world.live
    assert made.world.tiles, "the trees grow all the same"
    made.faults.away.clear()
    made.run()
    check_live(made, shard)


def test_a_database_in_another_epoch_keeps_none() -> None:
    shard = a_shard()
    made = bench(shard, published=[], second=0.01)
    prover = made.build()
    made.now += 0.1
    prover.step()  # asks for the epoch
    made.world.live.clear()
    shard.post(1)
    made.journal[0].extend(shard.journal(len(shard.entries)))
    made.world.epoch_no = 2
    made.now += 0.91
    made.faults.meanwhile["keep"] = lambda: setattr(made.world, "epoch_no", 3)
    prover.step()
    assert not made.world.live
    made.second = 1.0
    made.run()
    check_live(made, shard)


def test_what_a_later_prover_signed_stays() -> None:
    shard = a_shard()
    made = bench(shard)
    late = made.build()
    made.now += 1
    late.step()
    newer = dataclasses.replace(made)
    newer.run()
    note = made.world.live[0].note
    for _ in range(5):
        made.now += 1
        late.step()
    assert made.world.live[0].note == note
    check_live(made, shard)


def test_receipts_need_no_more() -> None:
    from ledger_core.proving.receipt import receipt_of

    shard = a_shard()
    made = bench(shard, 100)
    made.run()
    live, store = made.world.live[0], MemoryTileStore(made.world, Faults())
    for tree, size in zip(TREES, live[:2], strict=True):
        path = TiledTree(size, store.reader(0, tree)).inclusion_proof(41)
        data = receipt_of(live.note, made.registry, tree, 41, leaves(shard, tree)[41], path).to_bytes()
        assert verify_receipt(data, made.registry).report.sound


def test_the_age_grows_while_something_waits_and_not_else() -> None:
    shard = TinyShard().post(30).silence(5)
    made = bench(shard)
    made.run()
    assert made.metrics.ages[0] == 0.0
    prover = made.build()
    shard.post(10)
    made.journal[0] = shard.journal()
    live = made.world.live[0]
    made.world.live[0] = live._replace(next_offset=live.next_offset + 10**6)  # a superuser's
    ages = []
    for _ in range(20):
        made.now += 1
        prover.step()
        ages.append(made.metrics.ages[0])
    assert ages[-1] >= 15
    assert ages == sorted(ages)
    made.world.live[0] = live
    prover = made.build()
    for _ in range(8):
        made.now += 1
        prover.step()
    assert made.world.live[0].next_offset == shard.next_offset
    assert made.metrics.ages[0] == 0.0
