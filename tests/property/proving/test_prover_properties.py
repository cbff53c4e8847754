"""The prover, whatever the batches and whatever fails: the same ranges, gapless, all proved."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger_core.proving.open_range import OpenRange
from ledger_core.proving.range_limits import RangeLimits
from tests.simulator.faults import Faults, Mode
from tests.simulator.proving import MemoryProofs
from tests.support.journal_factory import TinyShard
from tests.support.proof_checks import check_checkpoint, check_proof, check_ranges
from tests.support.prover_runs import Bench

scripts = st.lists(
    st.tuples(st.sampled_from(["post", "post", "silence", "reject"]), st.integers(1, 6), st.sampled_from([0, 1, 40])),
    max_size=12,
)
Script = list[tuple[str, int, int]]  # of (kind, count, seconds later)
limits = st.builds(RangeLimits, st.integers(1, 9), st.sampled_from([30, 60]))


def ledger(script: Script, first_offset: int = 0, shard: int = 0) -> TinyShard:
    tiny, seconds = TinyShard(shard=shard, first_offset=first_offset), 0
    for kind, count, later in script:
        seconds += later
        if kind == "post":
            tiny.post(count, seconds=seconds)
        else:
            tiny.silence(count, reason="" if kind == "silence" else "unbalanced")
    return tiny


def check_world(bench: Bench) -> None:
    for number, shard in bench.world.shards.items():
        ranges = bench.world.ranges.get(number, [])
        check_ranges(shard, ranges)
        for closed in ranges:
            check_proof(closed, bench.world.proofs[number, closed.range_no], bench.registry)
            check_checkpoint(shard, closed, bench.world.checkpoints[number, closed.next_offset], bench.registry)
    told = [(intent.event_type, intent.payload["proof_hash"]) for intent in bench.world.intents]
    hashes = {closed.hash.hex() for ranges in bench.world.ranges.values() for closed in ranges}
    assert sorted(told) == sorted((kind, text) for kind in ("journal.posted", "proof.published") for text in hashes)


@settings(deadline=None)
@given(scripts, st.integers(0, 5), limits, st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_any_batching_of_the_same_entries_cuts_the_same_ranges(
    script: Script, first_offset: int, limit: RangeLimits, batches: list[int]
) -> None:
    shard = ledger(script, first_offset)
    one = OpenRange.resume(shard.position(), None, limit)
    expected = [cut for at, it in enumerate(shard.entries) for cut in one.take(at, it.seq, it.body, it.entry_hash)]
    expected += one.idle(shard.position())
    worlds = []
    for poll_max in batches:
        bench = Bench(MemoryProofs({0: shard}), limit, poll_max=poll_max, second=0.001)
        prover = bench.build()
        while prover.step():
            pass
        bench.now += 6  # the idle cut comes after everything was taken, in every run
        prover.step()
        worlds.append(bench.world.ranges.get(0, []))
        assert [(it.first_seq, it.last_seq, it.first_offset, it.next_offset) for it in worlds[-1]] == [
            (it.first_seq, it.last_seq, it.first_offset, it.next_offset) for it in expected
        ]
    assert all(world == worlds[0] for world in worlds)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(scripts, min_size=1, max_size=2),
    limits,
    st.integers(1, 12),
    st.dictionaries(st.integers(0, 120), st.sampled_from(["applied", "not applied"]), max_size=12),
)
def test_no_failure_leaves_a_gap_an_overlap_or_an_unproved_range(
    two: list[Script], limit: RangeLimits, poll_max: int, plan: dict[int, Mode]
) -> None:
    shards = {number: ledger(script, shard=number) for number, script in enumerate(two)}
    bench = Bench(MemoryProofs(shards), limit, Faults(dict(plan)), poll_max)
    bench.run()
    check_world(bench)


def test_every_single_call_may_fail_either_way() -> None:
    shards = {0: TinyShard().post(3).silence(2).post(9, seconds=90).silence(4), 1: TinyShard(shard=1).silence(3)}
    calm = Bench(MemoryProofs(shards), RangeLimits(5, 60), poll_max=4)
    calm.run()
    check_world(calm)
    fired = set()
    for number in range(calm.faults.calls):
        for mode in ("not applied", "applied"):
            bench = Bench(MemoryProofs(shards), RangeLimits(5, 60), Faults({number: mode}), 4)
            bench.run()
            check_world(bench)
            fired |= set(bench.faults.fired)
    for step in ("close_range", "publish_proof", "position", "last_range", "unsigned", "sign", "poll"):
        assert {f"{step}: not applied", f"{step}: applied"} <= fired


@settings(deadline=None)
@given(scripts, limits, st.lists(st.integers(0, 3), max_size=40), st.integers(1, 50))
def test_blocks_with_repeats_are_taken_as_entries_one_by_one(
    script: Script, limit: RangeLimits, back: list[int], block_max: int
) -> None:
    shard = ledger(script)
    journal, at = [], 0
    for step_back in [*back, *[0] * len(shard.entries)]:  # the relay goes back a little, again and again
        at = max(0, at - step_back)
        journal += shard.entries[at : at + 3]
        at = min(at + 3, len(shard.entries))
    items = [(number, it.seq, it.body, it.entry_hash) for number, it in enumerate(journal)]
    one = OpenRange.resume(shard.position(), None, limit)
    expected = [cut for item in items for cut in one.take(*item)]
    block = OpenRange.resume(shard.position(), None, limit)
    found = [
        cut for start in range(0, len(items), block_max) for cut in block.take_block(items[start : start + block_max])
    ]
    assert found == expected
    assert one.idle(shard.position()) == block.idle(shard.position())
