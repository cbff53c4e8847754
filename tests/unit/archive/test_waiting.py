"""What one object or manifest waits for, while everything else is archived. (In memory.)"""

from __future__ import annotations

from typing import Any

import pytest

from consumers.archive.lock_terms import RETRY_SECONDS
from ledger_core.archive.names import batch_key
from ledger_core.archive.pinned_object import lock_end
from ledger_core.errors import Refused
from ledger_core.ports import StoredObject
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.proving.range_proof import parse_proof
from tests.simulator.proving import MemoryProofs
from tests.support.archiver_runs import ArchiveBench, proved_bench
from tests.support.journal_factory import TinyShard
from tests.support.prover_runs import Bench

LIMITS = RangeLimits(offsets_max=5, window_seconds=60)


def bench_of(*shards: TinyShard) -> ArchiveBench:
    return ArchiveBench(proved_bench(*shards, limits=LIMITS))


@pytest.mark.parametrize(("year", "words"), [(2015, "by a time to come"), (2199, "is over already")])
def test_a_wrong_clock_locks_nothing(year: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A proof of the future is locked for years that nobody can shorten; a lock of the past the store refuses."""
    bench = bench_of(TinyShard().post(12))
    right, bench.clock = bench.clock, bench.clock.replace(year=year)
    bench.run()
    assert bench.bucket.held == {}
    assert words in "".join(capsys.readouterr())
    bench.clock = right
    bench.now += RETRY_SECONDS
    bench.run()
    bench.check()


def test_what_waited_is_archived_by_the_same_process_once_it_may() -> None:
    bench = bench_of(TinyShard().post(12).silence(1))
    archiver, right = bench.build(), bench.clock
    for bench.clock in [right.replace(year=2015)] * 20 + [right] * 20:
        bench.now += RETRY_SECONDS
        archiver.step()
    bench.check()


def test_a_range_of_a_wrong_clock_waits_for_a_decision_and_no_other_shard_waits() -> None:
    proved = Bench(MemoryProofs({number: TinyShard(shard=number).post(12) for number in (0, 1)}), LIMITS)
    whole = proved.journal
    proved.journal = {1: whole[1]}
    proved.run()
    right, proved.clock = proved.clock, proved.clock.replace(year=2199)
    proved.journal = {0: whole[0]}
    proved.run()
    proved.journal = whole
    bench = ArchiveBench(proved, clock=right)
    bench.run()
    assert {shard for shard, _ in bench.rows.objects} == {1}
    for batch in [name for name in waiting_batches(bench) if "shard-00000" in name]:
        bench.rows.decisions[batch] = right
        bench.now += RETRY_SECONDS
        bench.run()
    assert {shard for shard, _ in bench.rows.objects} == {0, 1}
    assert {it.pinned.retain_until for it in bench.rows.objects.values()} == {lock_end(right, 2557)}


def test_a_manifest_that_the_store_refuses_waits_and_no_other_shard_waits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = bench_of(*(TinyShard(shard=number).post(12) for number in (0, 1)))
    take = bench.bucket.put

    def refuse(key: str, data: bytes, **options: Any) -> StoredObject:
        if "manifests" in key and "shard-00000" in key:
            raise Refused("the store refuses manifests of shard 0", remedy="let it take them")
        return take(key, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(bench.bucket, "put", refuse)
        bench.run()
    assert {shard for shard, _ in bench.rows.objects} == {0, 1}
    assert {shard for shard, _ in bench.rows.manifests} == {1}
    assert "".join(capsys.readouterr()).count("refuses manifests of shard 0") == 1  # not again in each step
    bench.now += RETRY_SECONDS
    bench.run()
    bench.check()


def waiting_batches(bench: ArchiveBench) -> list[str]:
    proofs = [parse_proof(proof) for _, proof in sorted(bench.proved.world.proofs.items())]
    return [batch_key(proof.env, proof.shards[0]) for proof in proofs]
