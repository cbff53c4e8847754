"""The poster's session with the ledger in memory: real compare-and-swap, one transaction a batch, and failures."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from ledger_core.errors import Unavailable
from ledger_core.posting.plans import Known, Plan, ShardHead
from ledger_core.posting.store_port import Fenced, Halted, HaltKind, ShardHalt, Unrelayed, check_alone
from tests.simulator.faults import Faults
from tests.simulator.ledger import MemoryLedger, genesis

MOMENT = dt.datetime(2025, 11, 1, tzinfo=dt.UTC)


@dataclass
class MemoryTransaction:
    """One batch's transaction: what it writes takes effect when its block ends."""

    ledger: MemoryLedger
    shard: int
    alone: bool
    stale: bool
    written: Plan | None = None

    def look_up(self, compared: Sequence[str], named: Sequence[str]) -> dict[str, Known]:
        known = self.ledger.first_of(compared, named)
        return {i: first for i, first in known.items() if first.shard == self.shard} if self.stale else known

    def write(self, plan: Plan, *, relayed_offset: int) -> Plan:
        check_alone(plan, alone=self.alone)
        self.written = self.ledger.checked(plan, relayed_offset)
        return self.written


class MemoryPosterStore:
    """One session. Steps: open_shard, commit, note_relayed, unrelayed; and `stale`, armed as applied: a look-up that
    does not see what other shards have just committed."""

    def __init__(self, ledger: MemoryLedger, faults: Faults) -> None:
        self.ledger = ledger
        self.faults = faults
        self.closed = False

    def open_shard(self, shard: int, topic: str) -> ShardHead:
        with self._step("open_shard"):
            return self.ledger.heads.setdefault(shard, genesis(shard, topic))

    def is_halted(self) -> bool:
        return self.ledger.halted

    def shard_halts(self, shards: Iterable[int]) -> dict[int, ShardHalt]:
        return {shard: self.ledger.halts[shard] for shard in shards if shard in self.ledger.halts}

    def halt_shard(self, shard: int, kind: HaltKind, at_offset: int, detail: str) -> None:
        before = self.ledger.halts.get(shard)
        if before is None or before.resumed:
            number = 1 if before is None else before.halt_id + 1
            allowed = 0 if before is None else before.allowed_offset
            self.ledger.halts[shard] = ShardHalt(shard, number, kind, at_offset, detail, MOMENT, False, None, allowed)

    @contextmanager
    def batch(self, head: ShardHead, *, alone: bool) -> Iterator[MemoryTransaction]:
        with self._step("commit"):
            stands = self.ledger.heads[head.shard]
            if (stands.next_offset, stands.seq) != (head.next_offset, head.seq):
                raise Fenced("the head moved")
            halt = self.ledger.halts.get(head.shard)
            if self.ledger.halted or (halt is not None and not halt.resumed):
                raise Halted("halted")
            stale = self.faults.hits("stale", "applied")
            tx = MemoryTransaction(self.ledger, head.shard, alone, stale=stale)
            yield tx
            if tx.written is not None:
                self.ledger.apply(tx.written)

    def note_relayed(self, shard: int, relayed_offset: int) -> None:
        with self._step("note_relayed"):
            head = self.ledger.heads[shard]
            if head.relayed_offset < relayed_offset:
                assert relayed_offset <= head.next_offset
                self.ledger.heads[shard] = msgspec.structs.replace(head, relayed_offset=relayed_offset)

    def unrelayed_end(self, head: ShardHead, upto_offset: int, bytes_max: int) -> int:
        size = 0
        for item in self.unrelayed(head, upto_offset):
            size += len(item.entry[3]) if item.entry is not None else 0
            if size > bytes_max and item.offset > head.relayed_offset:
                return item.offset
        return upto_offset

    def unrelayed(self, head: ShardHead, upto_offset: int) -> list[Unrelayed]:
        with self._step("unrelayed"):
            found = [
                Unrelayed(item.record.offset, (item.seq, item.draft.event_id, item.entry_hash, item.body), None)
                for item in self.ledger.posted.get(head.shard, [])
            ]
            found += [Unrelayed(verdict.offset, None, verdict) for verdict in self.ledger.unposted.get(head.shard, [])]
            waiting = (item for item in found if head.relayed_offset <= item.offset < upto_offset)
            return sorted(waiting, key=lambda item: item.offset)

    def close(self) -> None:
        self.closed = True

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        if self.closed:
            raise Unavailable("postgres", "the session is closed")
        with self.faults.step("postgres", name):
            yield
