"""One poster in memory, on shards of its own: what it reads, what it tells, and what an operator decides."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from consumers.metrics import NullMetrics
from consumers.posting.decision import Judge
from consumers.posting.poster import Poster, PosterLimits
from consumers.posting.relay import Relay, RelayTopics
from ledger_core.ports import Record
from tests.simulator.checks import check_chain_and_counts, check_relayed, check_sound
from tests.simulator.faults import Faults
from tests.simulator.kafka import MemoryBroker, MemoryPublisher, MemorySource
from tests.simulator.ledger import MemoryLedger
from tests.simulator.posting import MemoryPosterStore
from tests.support.settlements import APPENDED_AT_MS, TOPIC

TOPICS = RelayTopics("journal", "outcomes", "dead_letters")


@dataclass
class Told(NullMetrics):
    lags: dict[int, tuple[int, float]] = field(default_factory=dict)
    relayed_records: int = 0
    steps: int = 0
    gone: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    stops: dict[int, tuple[bool, bool]] = field(default_factory=dict)
    in_force: dict[int, tuple[int, bool]] = field(default_factory=dict)

    def rules(self, shard: int, number: int, *, known: bool) -> None:
        self.in_force[shard] = (number, known)

    def stopped(self, shard: int, *, halted: bool, slowed: bool) -> None:
        self.stops[shard] = (halted, slowed)

    def lag(self, shard: int, records: int, seconds: float) -> None:
        self.lags[shard] = (records, seconds)

    def progress(self) -> None:
        self.steps += 1

    def relayed(self, shard: int, count: int) -> None:
        self.relayed_records += count

    def released(self, shard: int) -> None:
        self.gone.append(shard)

    def rejected(self, reason: str, count: int) -> None:
        self.reasons += [reason] * count


class World:
    """One poster on one shard; `now` is ten seconds after the first record was appended."""

    def __init__(self, *records: Record | None, judge: Judge | None = None, **limits: int) -> None:
        self.ledger, self.broker, self.faults, self.told = MemoryLedger(), MemoryBroker(), Faults(), Told()
        self.topic = {0: list(records)}
        self.now = APPENDED_AT_MS / 1000 + 10
        clock = itertools.count(1)
        publisher = MemoryPublisher(self.broker, self.faults)

        def open_source(start: Callable[[int], int], revoked: Callable[[int], None]) -> MemorySource:
            self.source = MemorySource(self.topic, start, revoked, self.faults)
            return self.source

        self.poster = Poster(
            topic=TOPIC,
            open_source=open_source,
            store=MemoryPosterStore(self.ledger, self.faults),
            relay=Relay(publisher, TOPICS),
            limits=PosterLimits(**limits),
            metrics=self.told,
            judge=judge,
            now=lambda: self.now,
            monotonic=lambda: float(next(clock)),
        )

    def run(self) -> None:
        """Until there is nothing to do, nor will be after a wait."""
        idle = 0
        while idle < 3:
            idle = 0 if self.poster.step() else idle + 1

    def decide(self, *, allowed: int = 0, aside: int | None = None) -> None:
        """As an operator ends the halt."""
        halt = self.ledger.halts[0]
        allowed = max(halt.allowed_offset, allowed)
        self.ledger.halts[0] = msgspec.structs.replace(
            halt, resumed=True, set_aside_offset=aside, allowed_offset=allowed
        )

    def check(self) -> None:
        check_chain_and_counts(self.ledger)
        check_sound(self.ledger)
        check_relayed(self.ledger, self.broker, TOPICS)
