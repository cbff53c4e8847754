"""Ranges that were announced and lost come back to the byte, wherever the database was cut off and whatever fails."""

from __future__ import annotations

import dataclasses
import datetime as dt

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.proving.prover import Prover
from ledger_core.errors import Unavailable
from ledger_core.proving.announced_range import AnnouncedRange
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.proving.range_proof import parse_payload
from tests.property.proving.test_prover_properties import Script, ledger, limits, scripts
from tests.simulator.faults import Faults, Mode
from tests.simulator.proving import MemoryProofs, MemorySigner
from tests.support import prover_runs
from tests.support.journal_factory import TinyShard
from tests.support.proof_checks import check_ranges
from tests.support.prover_runs import Bench

LIMITS = RangeLimits(4, 60)
LATER = prover_runs.NOW + dt.timedelta(days=1)


def announced(bench: Bench) -> list[AnnouncedRange]:
    """What a ledger told the audit topic, as a reader of the topic has it."""
    return [
        AnnouncedRange.parse({**intent.payload, "trace_id": intent.trace_id, "seq": "1"})
        for intent in bench.world.intents
        if intent.event_type == "journal.posted"
    ]


def lost(before: Bench, kept: int, limit: RangeLimits = LIMITS, faults: Faults | None = None) -> Bench:
    """The same ledger on a database that holds its first `kept` ranges only, with other limits, another clock and
    another key for what is new."""
    ranges = before.world.ranges.get(0, [])[:kept]
    numbers = {closed.range_no for closed in ranges}
    world = MemoryProofs(
        dict(before.world.shards),
        {0: list(ranges)},
        {key: proof for key, proof in before.world.proofs.items() if key[1] in numbers},
        {(0, it.next_offset): before.world.checkpoints[0, it.next_offset] for it in ranges},
        epoch_no=2,
    )
    bench = Bench(world, limit, faults or Faults(), before.poll_max, clock=LATER, published=announced(before))
    old, new = bench.signer, MemorySigner(bench.faults, "new")
    bench.registry = old.registry.with_signer(new.registry.signers[0])
    bench.signer, bench.others = new, [old]
    return bench


def check_adopted(before: Bench, after: Bench) -> None:
    wanted = before.world.ranges.get(0, [])
    found = after.world.ranges.get(0, [])
    assert [dataclasses.replace(it, journal_offset=0) for it in found[: len(wanted)]] == [
        dataclasses.replace(it, journal_offset=0) for it in wanted
    ]
    assert {key: after.world.proofs[key] for key in before.world.proofs} == before.world.proofs
    assert {key: after.world.checkpoints[key] for key in before.world.checkpoints} == before.world.checkpoints
    check_ranges(after.world.shards[0], found)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    scripts,
    limits,
    limits,
    st.integers(0, 30),
    st.integers(1, 12),
    st.dictionaries(st.integers(0, 120), st.sampled_from(["applied", "not applied"]), max_size=8),
)
def test_what_was_announced_comes_back_to_the_byte(
    script: Script, limit: RangeLimits, other_limit: RangeLimits, kept: int, poll_max: int, plan: dict[int, Mode]
) -> None:
    before = Bench(MemoryProofs({0: ledger(script)}), limit, poll_max=poll_max)
    before.run()
    after = lost(before, min(kept, len(before.world.ranges.get(0, []))), other_limit, Faults(dict(plan)))
    after.run()
    check_adopted(before, after)
    told = [intent for intent in after.world.intents if intent.event_type == "journal.adopted"]
    assert len(told) == len(before.world.ranges.get(0, [])) - min(kept, len(before.world.ranges.get(0, [])))
    assert after.metrics.refused == 0


def proved(shard: TinyShard) -> Bench:
    bench = Bench(MemoryProofs({0: shard}), LIMITS, poll_max=3)
    bench.run()
    return bench


def steps(bench: Bench, prover: Prover, count: int) -> None:
    for _ in range(count):
        bench.now += 1
        prover.step()


def test_new_ranges_follow_the_adopted_ones_on_terms_of_their_own() -> None:
    shard = TinyShard().post(7).silence(2)
    before = proved(shard)
    after = lost(before, 1)
    after.journal[0] = shard.post(6).journal()
    after.run()
    check_adopted(before, after)
    ranges = after.world.ranges[0]
    kids = [parse_payload(it.payload).signer_kid for it in ranges]
    assert kids == ["test-ed25519"] * len(before.world.ranges[0]) + ["new-ed25519"] * (
        len(kids) - len(before.world.ranges[0])
    )
    assert kids[-1] == "new-ed25519"


def test_a_database_behind_waits_for_its_poster_and_then_adopts() -> None:
    shard = TinyShard().post(9).silence(3)
    before = proved(shard)
    after = lost(before, 1)
    after.world.shards[0] = TinyShard().post(5)  # the poster is here, the journal at its end
    prover = after.build()
    with pytest.raises(Unavailable, match="poster"):
        steps(after, prover, 20)
    assert [it.range_no for it in after.world.ranges[0]] == [1]
    after.world.shards[0] = TinyShard().post(9)  # all entries, and not yet what was silent after them
    prover = after.build()
    steps(after, prover, 60)
    assert len(after.world.ranges[0]) < len(before.world.ranges[0])
    after.world.shards[0] = shard
    after.run()
    check_adopted(before, after)


def test_a_shard_that_the_poster_has_not_begun_again_is_waited_for() -> None:
    before = proved(TinyShard().post(5))
    after = lost(before, 0)
    shards, after.world.shards = after.world.shards, {}
    with pytest.raises(Unavailable, match="does not have them yet"):
        after.build().step()
    after.world.shards = shards
    after.run()
    check_adopted(before, after)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (TinyShard().post(5, seconds=1).silence(1).post(3), "give"),
        (TinyShard().post(5).silence(1, reason="unbalanced").post(3), "give"),
        (TinyShard(first_offset=2).post(5).silence(1).post(3), "begins at offset 0, here 2"),
    ],
)
def test_another_ledger_than_the_announced_one_is_refused_and_nothing_of_it_is_signed(
    other: TinyShard, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = proved(TinyShard().post(5).silence(1, reason="malformed").post(3))
    after = lost(before, 0)
    after.world.shards, after.journal = {0: other}, {0: other.journal()}
    prover = after.build()
    steps(after, prover, 60)
    assert after.world.proofs.items() <= before.world.proofs.items()
    assert said in "".join(capsys.readouterr())
    assert 2 <= after.metrics.refused <= 8  # said again and again, and no busy loop
    ranges = after.world.ranges[0]
    assert [it.hash for it in ranges] == [it.hash for it in before.world.ranges[0][: len(ranges)]]
    assert len(ranges) < len(before.world.ranges[0])


def test_an_announcement_with_other_terms_under_the_same_hash_is_refused() -> None:
    before = proved(TinyShard().post(8))
    after = lost(before, 1)
    assert after.published is not None
    after.published[1] = msgspec.structs.replace(after.published[1], ts="2025-01-01T00:00:00.000000Z")
    prover = after.build()
    steps(after, prover, 30)
    assert len(after.world.ranges[0]) == 1
    assert after.metrics.refused >= 1


def test_a_rebuild_and_the_prover_may_put_the_same_ranges_back_side_by_side() -> None:
    before = proved(TinyShard().post(12))
    after = lost(before, 0)
    prover = after.build()
    wanted = before.world.ranges[0]
    for number in range(60):
        if number % 2 and len(after.world.ranges[0]) < len(wanted):  # the rebuild takes a turn
            closed = wanted[len(after.world.ranges[0])]
            after.world.ranges[0].append(closed)
            after.world.proofs[0, closed.range_no] = before.world.proofs[0, closed.range_no]
            after.world.checkpoints[0, closed.next_offset] = before.world.checkpoints[0, closed.next_offset]
        after.now += 1
        prover.step()
    check_adopted(before, after)


def test_an_epoch_that_begins_between_the_look_and_the_closing_closes_nothing() -> None:
    """The database is put back while the prover runs: what it read before must not be closed there."""
    before = proved(TinyShard().post(8))
    after = Bench(MemoryProofs(dict(before.world.shards)), LIMITS, published=[])
    real = after.world

    def restored() -> None:
        real.epoch_no, after.published = 2, announced(before)

    after.faults.meanwhile["close_range"] = restored
    steps(after, after.build(), 60)
    check_adopted(before, after)
    assert {intent.event_type for intent in real.intents} == {"journal.adopted", "proof.published"}
