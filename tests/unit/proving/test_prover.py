"""The prover by itself: signer outages, rivals, restarts, gaps. (In memory; the real servers have their own tests.)"""

from __future__ import annotations

import datetime as dt

import pytest

from ledger_core.books.rule_versions import NEWEST_RULES
from ledger_core.errors import Corrupt, Refused, Unavailable
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.proving.range_proof import parse_proof
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import SignerRegistry
from tests.simulator.faults import Faults
from tests.simulator.proving import MemoryProofs, MemorySigner
from tests.support.journal_factory import START, TinyShard
from tests.support.proof_checks import check_proof, check_ranges
from tests.support.prover_runs import Bench

LIMITS = RangeLimits(offsets_max=5, window_seconds=60)


class AwaySigner(MemorySigner):
    """A signer that is away while `error` is set."""

    error: Exception | None = None

    def sign_digest(self, digest: bytes) -> bytes:
        if self.error is not None:
            raise self.error
        return super().sign_digest(digest)


def bench_of(shard: TinyShard) -> Bench:
    return Bench(MemoryProofs({shard.shard: shard}), LIMITS)


@pytest.mark.parametrize("year", [2015, 2199])
def test_a_prover_whose_clock_is_not_the_databases_closes_nothing(year: int) -> None:
    bench = bench_of(TinyShard().post(20))
    bench.database_clock, bench.clock = bench.clock, bench.clock.replace(year=year)
    prover = bench.build()

    def run() -> None:
        for _ in range(20):
            prover.step()

    with pytest.raises(Unavailable, match=f"clock is unavailable: this clock says {year}-.*until the wrong one is set"):
        run()
    assert not any(bench.world.ranges.values())
    bench.clock = bench.database_clock
    prover = bench.build()
    for _ in range(20):
        prover.step()
    assert len(bench.world.proofs) == 4


def test_nothing_is_proved_before_its_records_were_there_and_no_other_shard_waits_for_it() -> None:
    """Our clock and the database's agree; the broker's was years ahead for some records of shard 0."""
    years = 20 * 366 * 86_400
    bench = Bench(MemoryProofs({0: TinyShard().post(7).post(8, seconds=years), 1: TinyShard(1).post(20)}), LIMITS)
    prover = bench.build()
    for _ in range(200):
        bench.now += 1
        prover.step()
    assert {number: len(ranges) for number, ranges in bench.world.ranges.items()} == {0: 2, 1: 4}
    assert len(bench.world.proofs) == 6
    assert bench.metrics.clocks > 3, "it is said again and again"
    bench.clock += dt.timedelta(seconds=2 * years)
    for _ in range(60):
        bench.now += 1
        prover.step()
    assert {number: len(ranges) for number, ranges in bench.world.ranges.items()} == {0: 4, 1: 4}
    assert len(bench.world.proofs) == 8


def test_a_shard_of_rules_that_are_not_known_waits_alone_and_without_a_halt() -> None:
    waiting = TinyShard().post(12).post(1, rules=NEWEST_RULES + 1).post(5)
    world = MemoryProofs({0: waiting, 1: TinyShard(1).post(20)})
    bench = Bench(world, LIMITS)
    prover = bench.build()
    for _ in range(60):
        prover.step()
    assert sorted(parse_proof(it).shards[0].last_seq for it in world.proofs.values()) == sorted(
        ["5", "10", "5", "10", "15", "20"]
    ), "shard 1 is proved to its end, shard 0 as far as its rules are known"


@pytest.mark.parametrize(("days", "proofs"), [(-1, 0), (1, 4)])
def test_what_a_broker_dated_ahead_is_proved_once_an_operator_accepted_it(days: int, proofs: int) -> None:
    shard = TinyShard().post(20)
    bench = bench_of(shard)
    bench.clock = bench.clock.replace(year=2015)
    bench.world.accepted[0] = START + dt.timedelta(days=days)
    prover = bench.build()
    for _ in range(20):
        prover.step()
    assert len(bench.world.proofs) == proofs
    assert {parse_proof(proof).ts[:4] for proof in bench.world.proofs.values()} <= {"2015"}


@pytest.mark.parametrize("error", [Unavailable("signer", "time-out"), Refused("key is disabled", remedy="enable it")])
def test_signer_outage_stops_proofs_and_nothing_else_then_resumes_without_a_gap(error: Exception) -> None:
    shard = TinyShard().post(20).silence(2)
    bench = bench_of(shard)
    bench.signer = AwaySigner(Faults())
    bench.signer.error = error
    prover = bench.build()
    for _ in range(60):
        bench.now += 1
        prover.step()
    assert len(bench.world.ranges[0]) == 5
    assert bench.world.proofs == {}
    assert bench.world.checkpoints == {}
    assert 5 <= bench.metrics.signer_failures <= 12  # waits grow: no busy loop
    bench.signer.error = None
    for _ in range(20):
        bench.now += 1
        prover.step()
    check_ranges(shard, bench.world.ranges[0])
    assert [range_no for _, range_no in bench.world.proofs] == [1, 2, 3, 4, 5]


def test_nothing_is_signed_before_its_announcement_is_published_and_later_ranges_wait_in_order() -> None:
    shard = TinyShard().post(20)
    bench = bench_of(shard)
    bench.published = []
    bench.world.announced = announced = set()
    prover = bench.build()

    def steps(number: int) -> list[int]:
        """The ranges that are proved after so many steps."""
        for _ in range(number):
            bench.now += 1
            prover.step()
        return [range_no for _, range_no in bench.world.proofs]

    assert steps(40) == []
    hashes = [closed.hash.hex() for closed in bench.world.ranges[0]]
    assert len(hashes) == 4
    announced |= {hashes[0], hashes[2]}
    assert steps(5) == [1]
    announced |= set(hashes)
    assert steps(5) == [1, 2, 3, 4]


def test_what_a_retry_signs_is_what_was_written_down() -> None:
    shard = TinyShard().post(5)
    bench = bench_of(shard)
    bench.signer = AwaySigner(Faults())
    bench.signer.error = Unavailable("signer", "away")
    first = bench.build()
    first.step()
    written = bench.world.ranges[0][0]
    bench.signer.error = None
    bench.run()
    check_proof(written, bench.world.proofs[0, 1], bench.registry)


def test_a_signature_that_the_registered_key_does_not_verify_is_never_published() -> None:
    bench = bench_of(TinyShard().post(5))
    stranger = MemorySigner(Faults(), "stranger")
    stranger.kid = bench.signer.kid
    bench.signer = stranger
    prover = bench.build()
    for _ in range(10):
        bench.now += 1
        prover.step()
    assert bench.world.proofs == {}
    assert bench.metrics.signer_failures > 0
    assert len(bench.world.ranges[0]) == 1


def test_an_unregistered_signer_is_refused_before_anything_is_read() -> None:
    bench = bench_of(TinyShard())
    with pytest.raises(Refused, match=r"not in the signer registry.*signers.json"):
        PinnedSigner(MemorySigner(Faults(), "stranger"), bench.registry)


def test_a_range_written_down_for_another_key_is_not_signed_by_this_one() -> None:
    bench = bench_of(TinyShard().post(5))
    old = AwaySigner(Faults())
    old.error = Unavailable("signer", "away")
    bench.signer = old
    bench.build().step()
    bench.signer = MemorySigner(Faults(), "new")
    bench.registry = bench.signer.registry
    bench.build().step()
    assert bench.world.proofs == {}
    assert bench.metrics.signer_failures == 2


def test_a_rotation_needs_no_drain() -> None:
    """What was written down for the old key is signed by it, what comes then by the new one, in order."""
    shard = TinyShard().post(12)
    bench = bench_of(shard)
    old = bench.signer = AwaySigner(Faults())
    old.error = Unavailable("signer", "away")
    bench.build().step()
    written = len(bench.world.ranges[0])
    assert written
    bench.signer, bench.others, old.error = MemorySigner(Faults(), "new"), [old], None
    bench.registry = SignerRegistry([*old.registry.signers, *bench.signer.registry.signers])
    bench.journal[0] = shard.post(8).journal()
    bench.run()
    kids = [parse_proof(data).signer_kid for _, data in sorted(bench.world.proofs.items())]
    assert kids == [old.kid] * written + [bench.signer.kid] * (len(kids) - written)
    assert len(kids) == len(bench.world.ranges[0]) > written
    check_ranges(shard, bench.world.ranges[0])
    for closed in bench.world.ranges[0]:
        check_proof(closed, bench.world.proofs[0, closed.range_no], bench.registry)


def test_two_provers_on_one_shard_close_every_range_once() -> None:
    shard = TinyShard().post(23)
    bench = bench_of(shard)
    bench.poll_max = 4
    rivals = [bench.build(), bench.build()]
    for turn in range(80):
        bench.now += 0.5
        rivals[turn % 2].step()
    check_ranges(shard, bench.world.ranges[0])
    assert len(bench.world.proofs) == len(bench.world.ranges[0])
    assert bench.metrics.proofs == len(bench.world.proofs)


def test_a_gap_in_the_journal_stops_loudly() -> None:
    shard = TinyShard().post(8)
    bench = bench_of(shard)
    del bench.journal[0][6]
    prover = bench.build()
    with pytest.raises(Corrupt, match="from seq 6 to 8"):
        prover.step()
    check_ranges(shard, bench.world.ranges[0], complete=False)


@pytest.mark.parametrize("value", [None, b"", b"\0\0\0\0\1rubbish"])
def test_a_foreign_record_in_the_journal_stops_loudly(value: bytes | None) -> None:
    bench = bench_of(TinyShard().post(1))
    record = bench.journal[0][0]
    bench.journal[0][0] = type(record)(record.topic, 0, 0, record.timestamp_ms, None, value)
    with pytest.raises(Corrupt):
        bench.build().step()


def test_an_entry_of_a_shard_that_postgres_does_not_know_waits_for_the_poster() -> None:
    """A standby that took over may lack the shard's first entries, and nobody has begun an epoch then."""
    bench = bench_of(TinyShard().post(1))
    shards = dict(bench.world.shards)
    bench.world.shards.clear()
    with pytest.raises(Unavailable, match="does not have them yet"):
        bench.build().step()
    bench.world.shards.update(shards)
    bench.run()
    assert bench.world.proofs


def test_a_revoked_partition_is_forgotten_and_taken_up_again_from_postgres() -> None:
    shard = TinyShard().post(7)
    bench = bench_of(shard)
    prover = bench.build()
    prover.step()
    assert bench.source is not None
    bench.source.revoke(0)
    asked: list[bool] = []
    bench.faults.meanwhile["last_range"] = lambda: asked.append(True)
    bench.now += 10
    for _ in range(10):
        bench.now += 3
        prover.step()
    check_ranges(shard, bench.world.ranges[0])


def test_a_range_whose_row_was_altered_is_not_signed() -> None:
    bench = bench_of(TinyShard().post(5))
    signer = AwaySigner(Faults())
    signer.error = Unavailable("signer", "away")
    bench.signer = signer
    bench.build().step()
    closed = bench.world.ranges[0][0]
    altered = closed.payload.replace(b'"env":"test"', b'"env":"prod"')
    fields = {name: getattr(closed, name) for name in type(closed).__slots__} | {"payload": altered}
    bench.world.ranges[0][0] = type(closed)(**fields)
    signer.error = None
    with pytest.raises(Corrupt, match="range 1: hash"):
        bench.build().step()
    assert bench.world.proofs == {}


def test_proofs_name_the_range_and_the_key() -> None:
    bench = bench_of(TinyShard().post(5))
    bench.run()
    proof = parse_proof(bench.world.proofs[0, 1])
    assert (proof.proof_id, proof.signer_kid, proof.num_rows) == ("test-0-1", "test-ed25519", "5")
