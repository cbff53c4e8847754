"""Running a prover in memory to its end, through any failures, as `run_service` would: closed and built anew."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from consumers.kafka.source import OnRevoked, StartOffset
from consumers.metrics import NullMetrics
from consumers.proving.prover import Prover
from consumers.proving.prover_settings import ProverSettings
from consumers.proving.published_guard import NOTHING_PUBLISHED, PublishedGuard, PublishedRange
from ledger_core.errors import Unavailable
from ledger_core.ports import Record, Signer
from ledger_core.proving.announced_range import AnnouncedRange
from ledger_core.proving.range_limits import RangeLimits
from tests.simulator.faults import Faults
from tests.simulator.kafka import MemorySource
from tests.simulator.proving import MemoryHeld, MemoryProofs, MemoryProverStore, MemorySigner, MemoryTileStore
from tests.support.mac_key import MacSecret
from tests.support.signing import signer_set

NOW = dt.datetime(2025, 11, 2, tzinfo=dt.UTC)
TRACE_ID = "0123456789abcdef0123456789abcdef"


@dataclass
class CountingMetrics(NullMetrics):
    proofs: int = 0
    signer_failures: int = 0
    exports: int = 0
    refused: int = 0
    clocks: int = 0
    ages: dict[int, float] = field(default_factory=dict)  # of live checkpoints, by shard

    def checkpoint(self, shard: int, age_seconds: float) -> None:
        self.ages[shard] = age_seconds

    def proof(self, seconds: float) -> None:
        self.proofs += 1

    def unavailable(self, what: str) -> None:
        assert what in ("signer", "published", "clock")
        self.signer_failures += what == "signer"
        self.refused += what == "published"
        self.clocks += what == "clock"

    def exported(self) -> None:
        self.exports += 1


@dataclass
class Bench:
    """A world, its journal, and provers built on it. Time moves by `second` in each step."""

    world: MemoryProofs
    limits: RangeLimits
    faults: Faults = field(default_factory=Faults)
    poll_max: int = 1000
    second: float = 1.0
    journal: dict[int, list[Record]] = field(default_factory=dict)
    now: float = 0.0
    metrics: CountingMetrics = field(default_factory=CountingMetrics)
    others: Sequence[Signer] = ()
    cosigner: MemorySigner | None = None
    clock: dt.datetime = NOW
    database_clock: dt.datetime | None = None  # None: the same
    published: list[AnnouncedRange] | None = None  # on the audit topic; None: nobody asks
    mac_waiver: str | None = None

    def __post_init__(self) -> None:
        self.signer: MemorySigner | MacSecret = MemorySigner(self.faults)
        self.registry = self.signer.registry
        self.source: MemorySource | None = None
        if not self.journal:
            self.journal = {number: shard.journal() for number, shard in self.world.shards.items()}

    def build(self) -> Prover:
        def open_source(start: StartOffset, revoked: OnRevoked) -> MemorySource:
            self.source = MemorySource(self.journal, start, revoked, self.faults, records_max=self.poll_max)
            return self.source

        return Prover(
            MemoryProverStore(self.world, self.faults, lambda: self.database_clock or self.clock),
            MemoryTileStore(self.world, self.faults),
            open_source,
            signer_set(
                self.signer,
                self.registry,
                metrics=self.metrics,
                monotonic=lambda: self.now,
                others=self.others,
                cosigner=self.cosigner,
            ),
            ProverSettings("test", "example.com", self.limits, idle_seconds=5.0, mac_waiver=self.mac_waiver),
            read_journal=lambda shard, offset: (it for it in self.journal[shard] if it.offset >= offset),
            clock=lambda: self.clock,
            monotonic=lambda: self.now,
            new_trace_id=lambda: TRACE_ID,
            metrics=self.metrics,
            guard=NOTHING_PUBLISHED if self.published is None else self._guard(),
        )

    def _guard(self) -> PublishedGuard:
        def told(shard: int, _held_no: int) -> list[PublishedRange]:
            ranges = [it for it in self.published or () if it.shard == shard]
            return [PublishedRange(int(it.range_no), it.proof_hash, "audit", it) for it in ranges]

        return PublishedGuard(told, MemoryHeld(self.world), monotonic=lambda: self.now, metrics=self.metrics)

    def run(self, steps_max: int = 2000) -> None:
        """Step until nothing was done for long enough that idle closing and signing had their turn."""
        prover, quiet = self.build(), 0
        for _ in range(steps_max):
            self.now += self.second
            try:
                quiet = 0 if prover.step() else quiet + 1
            except Unavailable:
                prover, quiet = self.build(), 0
            if quiet > 25:
                return
        raise AssertionError("the prover never came to rest")
