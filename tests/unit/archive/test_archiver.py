"""The archiver by itself: what a crash leaves, rivals, signer outages, what it refuses. (In memory.)"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
from typing import Any

import pytest

from consumers.archive.archiver import ArchiverSettings
from ledger_core.archive.manifest import parse_manifest
from ledger_core.errors import Corrupt, Refused, Unavailable
from ledger_core.ports import Record, StoredObject
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.signing.registry import SignerRegistry
from schemas.wire.journal import decode_journal, encode_journal
from tests.simulator.faults import Faults
from tests.simulator.proving import MemorySigner
from tests.support.archiver_runs import ArchiveBench, proved_bench
from tests.support.journal_factory import TinyShard

LIMITS = RangeLimits(offsets_max=5, window_seconds=60)


def bench_of(*shards: TinyShard, **options: Any) -> ArchiveBench:
    return ArchiveBench(proved_bench(*shards, limits=LIMITS), **options)


def test_every_proved_range_becomes_one_object_and_one_manifest() -> None:
    bench = bench_of(TinyShard().post(12).silence(9).post(1), TinyShard(shard=1).silence(2))
    bench.run()
    bench.check()
    assert bench.metrics.exports == len(bench.rows.objects) == 6


def test_every_single_call_may_fail_either_way() -> None:
    shards = (TinyShard().post(3).silence(2).post(4, seconds=90), TinyShard(shard=1).silence(3))
    calm = bench_of(*shards, poll_max=3)
    calm.run()
    calm.check()
    fired = set()
    for number in range(calm.faults.calls):
        for mode in ("not applied", "applied"):
            bench = bench_of(*shards, poll_max=3, faults=Faults({number: mode}))
            bench.run()
            bench.check()
            assert bench.rows.manifests == calm.rows.manifests
            fired |= set(bench.faults.fired)
    for step in (
        "put",
        "record_object",
        "record_manifest",
        "sign",
        "cursor",
        "proved_range",
        "unlisted",
        "poll",
    ):
        assert {f"{step}: not applied", f"{step}: applied"} <= fired


def test_nothing_is_archived_before_it_is_proved() -> None:
    bench = bench_of(TinyShard().post(12))
    world = bench.proved.world
    held_back = {key: world.proofs.pop(key) for key in list(world.proofs) if key[1] > 1}
    bench.run()
    assert list(bench.rows.objects) == [(0, 1)]
    world.proofs.update(held_back)
    bench.run()
    bench.check()


def test_unproved_entries_are_waiting_in_bounded_memory_and_reading_goes_on_later() -> None:
    bench = bench_of(TinyShard().post(60), poll_max=5, waiting_bytes_max=20_000)
    proofs = bench.proved.world.proofs
    held_back = dict(proofs)
    proofs.clear()
    archiver = bench.build()
    for _ in range(40):
        bench.now += 1
        archiver.step()
    assert bench.source is not None
    assert bench.source.paused == {0}
    ahead = bench.proved.journal[0][: bench.source.positions[0]]
    assert sum(len(record.value or b"") for record in ahead) < 30_000
    proofs.update(held_back)
    for _ in range(60):
        bench.now += 1
        archiver.step()
    assert bench.source.paused == set()
    bench.check()


def test_signer_outage_stops_manifests_and_nothing_else() -> None:
    bench = bench_of(TinyShard().post(20))
    good = bench.signer
    bench.signer = MemorySigner(Faults(dict.fromkeys(range(10_000), "not applied")))
    archiver = bench.build()
    for _ in range(60):
        bench.now += 1
        archiver.step()
    assert (len(bench.rows.objects), len(bench.rows.manifests)) == (4, 0)
    assert 5 <= bench.metrics.signer_failures <= 12
    bench.signer = good
    bench.run()
    bench.check()


def test_two_archivers_on_one_shard_store_every_range_once() -> None:
    bench = bench_of(TinyShard().post(23), poll_max=3)
    rivals = [bench.build(), bench.build()]
    for turn in range(80):
        bench.now += 0.5
        rivals[turn % 2].step()
    bench.check()
    assert bench.metrics.exports == len(bench.rows.manifests)


def stored_as(data: bytes, like: StoredObject) -> StoredObject:
    sha256 = hashlib.sha256(data).hexdigest()
    return dataclasses.replace(like, size_bytes=len(data), sha256=sha256)


def test_an_object_of_other_gzip_bytes_left_by_a_crash_is_taken_for_ours() -> None:
    bench = bench_of(TinyShard().post(5), faults=Faults())
    calm = bench_of(TinyShard().post(5))
    calm.run()
    ((key, (stored, data)), *_) = sorted(calm.bucket.held.items())
    other_zlib = gzip.compress(gzip.decompress(data), 1)
    bench.bucket.held[key] = (stored_as(other_zlib, stored), other_zlib)
    bench.run()
    bench.check()
    assert bench.rows.objects[0, 1].pinned.stored_sha256 != calm.rows.objects[0, 1].pinned.stored_sha256
    assert bench.rows.objects[0, 1].pinned.sha256 == calm.rows.objects[0, 1].pinned.sha256


def test_a_manifest_left_by_a_crash_before_a_key_rotation_is_taken_for_ours() -> None:
    bench = bench_of(TinyShard().post(5))
    bench.run()
    left = bench.rows.manifests.pop((0, 1))
    new = MemorySigner(Faults(), "new")
    bench.registry = SignerRegistry([*bench.registry.signers, *new.registry.signers])
    bench.signer = new
    bench.run()
    assert bench.rows.manifests[0, 1] == left
    assert parse_manifest(left).signer_kid == "test-ed25519"


def test_a_foreign_object_under_our_name_stops_loudly() -> None:
    bench = bench_of(TinyShard().post(5))
    calm = bench_of(TinyShard().post(5))
    calm.run()
    batch_name, manifest_name = sorted(calm.bucket.held)
    for name in (batch_name, manifest_name):
        bench = bench_of(TinyShard().post(5))
        stored, _ = calm.bucket.held[name]
        bench.bucket.held[name] = (stored_as(b"foreign", stored), b"foreign")
        with pytest.raises(Corrupt, match="other bytes"):
            bench.run()
        assert (0, 1) not in bench.rows.manifests


def altered(record: Record, **change: Any) -> Record:
    item = decode_journal(record.value or b"")
    fields: dict[str, Any] = {
        "shard": item.shard,
        "seq": item.seq,
        "body": item.body,
        "entry_hash": item.entry_hash,
    } | change
    return Record(record.topic, record.partition, record.offset, record.timestamp_ms, None, encode_journal(**fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"body": b"{}"}, "seq 3: entry_hash"),
        ({"entry_hash": b"\1" * 32}, "seq 3: entry_hash"),
        ({"seq": 4}, "from seq 2 to 4: a gap"),
        ({"shard": 1}, "an entry of shard 1"),
    ],
)
def test_a_journal_that_contradicts_the_proof_is_never_archived(change: dict[str, Any], message: str) -> None:
    bench = bench_of(TinyShard().post(5))
    bench.proved.journal = {0: list(bench.proved.journal[0])}
    bench.proved.journal[0][2] = altered(bench.proved.journal[0][2], **change)
    with pytest.raises(Corrupt, match=message):
        bench.run()
    assert bench.bucket.held == {}


def test_a_journal_with_another_history_is_never_archived() -> None:
    bench = bench_of(TinyShard().post(5))
    bench.proved.journal = {0: TinyShard().post(4).post(1, seconds=9).journal()}
    with pytest.raises(Corrupt, match="head differs from the proved one"):
        bench.run()
    assert bench.bucket.held == {}


def test_verdicts_that_contradict_the_proof_are_never_archived() -> None:
    shard = TinyShard().post(2).silence(3)
    bench = bench_of(shard)
    shard.verdicts[3] = shard.verdicts[3].replace(b"already_posted", b"another_one")
    with pytest.raises(Corrupt, match="verdict lines differ"):
        bench.run()
    assert bench.bucket.held == {}


def test_a_bucket_that_does_not_lock_is_refused_before_anything_is_read() -> None:
    bench = bench_of(TinyShard().post(5))

    def refuse() -> None:
        raise Refused("bucket has no Object Lock", remedy="create one")

    bench.bucket.check_lock = refuse  # type: ignore[method-assign]
    with pytest.raises(Refused, match="no Object Lock"):
        bench.build()
    assert bench.source is None


def test_a_bucket_that_stops_locking_is_refused_by_the_recurring_canary() -> None:
    bench = bench_of(TinyShard().post(12))
    archiver = bench.build()
    archiver.step()

    def refuse() -> None:
        raise Refused("bucket audit let a version locked by COMPLIANCE be deleted", remedy="another bucket")

    bench.bucket.check_lock = refuse  # type: ignore[method-assign]
    bench.now += ArchiverSettings("1").canary_seconds - 1
    archiver.step()
    stored = dict(bench.bucket.held)
    bench.now += 1
    with pytest.raises(Refused, match="be deleted"):
        archiver.step()
    assert bench.bucket.held == stored


def test_s3_that_is_away_is_unavailable_and_nothing_is_recorded() -> None:
    bench = bench_of(TinyShard().post(5))
    bench.bucket.faults = Faults(dict.fromkeys(range(1000), "not applied"))
    archiver = bench.build()
    with pytest.raises(Unavailable, match="s3"):
        archiver.step()
    assert bench.rows.objects == {}
