"""A projection in memory: the rows of each shard, its cursor, and the times that are kept beside all projections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ledger_core.errors import Refused
from ledger_core.posting.store_port import Fenced
from ledger_core.reading.fold import Folded, ShardReach
from ledger_core.reading.known import KeptTime
from ledger_core.reading.rows import ProjectedEntry
from tests.simulator.faults import Faults


@dataclass
class MemoryProjection:
    """What stands, whoever writes it."""

    reaches: dict[int, ShardReach] = field(default_factory=dict)
    rows: dict[int, list[ProjectedEntry]] = field(default_factory=dict)
    times: dict[int, list[KeptTime]] = field(default_factory=dict)

    def reach(self, shard: int) -> ShardReach:
        return self.reaches.get(shard, ShardReach(shard))


@dataclass
class MemoryProjectionStore:
    """One projector's way to it. Steps: `reach`, `write`, `close_shard`."""

    projection: MemoryProjection
    faults: Faults = field(default_factory=Faults)
    closed: bool = False

    def reach(self, shard: int) -> ShardReach:
        return self.faults.call("postgres", self.projection.reach, shard)

    def kept(self, shard: int, after_seq: int, limit: int) -> Mapping[int, Sequence[KeptTime]]:
        found: dict[int, list[KeptTime]] = {}
        for it in sorted(self.projection.times.get(shard, ()))[:limit]:
            if it.seq > after_seq:
                found.setdefault(it.seq, []).append(it)
        return found

    def write(self, before: ShardReach, folded: Folded) -> None:
        self.faults.call("postgres", self._write, before, folded)

    def close_shard(self, before: ShardReach, closed: KeptTime) -> ShardReach:
        return self.faults.call("postgres", self._close_shard, before, closed)

    def close(self) -> None:
        self.closed = True

    def _write(self, before: ShardReach, folded: Folded) -> None:
        there = self.projection.rows.setdefault(before.shard, [])
        if self.projection.reach(before.shard) != before:
            raise Fenced("moved")
        if any(there[seq - 1].entry_hash != entry_hash for seq, entry_hash in folded.repeats):
            raise Refused("a repeat that is not one", remedy="none")
        there += folded.rows
        times = self.projection.times.setdefault(before.shard, [])
        times[:] = [it for it in times if it not in folded.needless] + folded.kept
        self.projection.reaches[before.shard] = folded.reach

    def _close_shard(self, before: ShardReach, closed: KeptTime) -> ShardReach:
        if self.projection.reach(before.shard) != before:
            raise Fenced("moved")
        self.projection.times.setdefault(before.shard, []).append(closed)
        self.projection.reaches[before.shard] = after = before._replace(known_us=closed.known_us)
        return after
