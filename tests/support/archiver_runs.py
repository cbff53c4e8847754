"""Running an archiver in memory over a finished prover's world, through any failures, as `run_service` would."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from consumers.archive.archiver import Archiver, ArchiverSettings
from consumers.archive.lock_terms import LockTerms
from consumers.kafka.source import OnRevoked, StartOffset
from ledger_core.errors import Unavailable
from ledger_core.proving.range_limits import RangeLimits
from tests.simulator.archive import MemoryArchiveRows, MemoryBucket
from tests.simulator.faults import Faults
from tests.simulator.kafka import MemorySource
from tests.simulator.proving import MemoryProofs, MemorySigner
from tests.support.archive_checks import check_archive
from tests.support.journal_factory import TinyShard
from tests.support.prover_runs import NOW, Bench, CountingMetrics
from tests.support.signing import signer_set


@dataclass
class ArchiveBench:
    """A proved world, its archive, and archivers built on it."""

    proved: Bench
    faults: Faults = field(default_factory=Faults)
    poll_max: int = 1000
    waiting_bytes_max: int = 1_000_000
    now: float = 0.0
    metrics: CountingMetrics = field(default_factory=CountingMetrics)
    clock: dt.datetime = NOW

    def __post_init__(self) -> None:
        self.bucket = MemoryBucket(self.faults)
        self.rows = MemoryArchiveRows(self.proved.world, self.faults)
        self.signer = MemorySigner(self.faults)
        self.registry = self.signer.registry
        self.source: MemorySource | None = None

    def build(self) -> Archiver:
        def open_source(start: StartOffset, revoked: OnRevoked) -> MemorySource:
            self.source = MemorySource(self.proved.journal, start, revoked, self.faults, records_max=self.poll_max)
            return self.source

        return Archiver(
            self.rows,
            self.bucket,
            open_source,
            signer_set(self.signer, self.registry, metrics=self.metrics, monotonic=lambda: self.now),
            ArchiverSettings("1", waiting_bytes_max=self.waiting_bytes_max),
            LockTerms(self.rows, 2557, clock=lambda: self.clock),
            clock=lambda: self.clock,
            monotonic=lambda: self.now,
            metrics=self.metrics,
        )

    def run(self, steps_max: int = 2000) -> None:
        """Step until nothing was done for long enough that waiting for the signer is over."""
        archiver, quiet = self.build(), 0
        for _ in range(steps_max):
            self.now += 1
            try:
                quiet = 0 if archiver.step() else quiet + 1
            except Unavailable:
                archiver, quiet = self.build(), 0
            if quiet > 12:
                return
        raise AssertionError("the archiver never came to rest")

    def check(self, *, complete: bool = True) -> None:
        for number, shard in self.proved.world.shards.items():
            manifests = [data for (at, _), data in sorted(self.rows.manifests.items()) if at == number]
            check_archive(shard, manifests, lambda key, _: self.bucket.held[key], self.registry, complete=complete)
        tiles = sum("/tlog/" in key for key in self.bucket.held)
        assert len(self.bucket.held) == len(self.rows.objects) + len(self.rows.manifests) + tiles
        exported = [intent.payload["object_key"] for intent in self.rows.intents]
        assert sorted(map(str, exported)) == sorted(
            archived.pinned.object_key for archived in self.rows.objects.values()
        )


def proved_bench(*shards: TinyShard, limits: RangeLimits) -> Bench:
    """A world whose prover has come to rest."""
    bench = Bench(MemoryProofs({shard.shard: shard for shard in shards}), limits)
    bench.run()
    return bench
