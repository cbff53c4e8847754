"""A poster's world in memory, with the failures that matter: a ledger, a topic, a consumer group and a broker.

The ledger has real compare-and-swap semantics and the constraints of the migrations. A failure is armed once and fires
once: before the effect ("not applied") or after it ("applied", but the caller never knew).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from ledger_core.errors import Unavailable
from ledger_core.ports import AuditIntent, Record
from ledger_core.posting.plans import Known, Plan, Posted, ShardHead, Verdict
from ledger_core.posting.store_port import BatchFailed, EventIdTaken, Fenced, Halted, Unrelayed

Headers = Sequence[tuple[str, bytes | None]]


def genesis(shard: int, topic: str) -> ShardHead:
    """The head of a shard that nothing was posted to."""
    return ShardHead(
        shard=shard, topic=topic, first_offset=0, next_offset=0, seq=0, head_hash=None, accounts=0, posted=0,
        duplicates=0, rejected=0, relayed_offset=0,
    )  # fmt: skip


@dataclass
class Trouble:
    """What fails next: a name -> how. `hit` fires and disarms."""

    armed: dict[str, str] = field(default_factory=dict)

    def hit(self, name: str, mode: str) -> bool:
        if self.armed.get(name) != mode:
            return False
        del self.armed[name]
        return True


@dataclass
class MemoryLedger:
    """The database. `commits` is the order in which batches took effect: (shard, first offset, next offset)."""

    heads: dict[int, ShardHead] = field(default_factory=dict)
    posted: dict[int, list[Posted]] = field(default_factory=dict)
    verdicts: dict[int, list[Verdict]] = field(default_factory=dict)
    first: dict[str, Known] = field(default_factory=dict)
    commits: list[tuple[int, int, int]] = field(default_factory=list)
    halted: bool = False
    intents: list[AuditIntent] = field(default_factory=list)
    poison: set[int] = field(default_factory=set)  # offsets that the database refuses to take

    def write(self, plan: Plan, relayed_offset: int) -> Plan:
        """All or nothing: every constraint is looked at before anything changes."""
        plan = self.checked(plan, relayed_offset)
        self.apply(plan)
        return plan

    def checked(self, plan: Plan, relayed_offset: int) -> Plan:
        if any(item.record.offset in self.poison for item in plan.posted):
            raise BatchFailed("poison")
        ids = [item.draft.event_id for item in plan.posted]
        ids += [v.event_id for v in plan.verdicts if v.first_verdict and v.event_id]
        if len(set(ids)) != len(ids) or any(event_id in self.first for event_id in ids):
            raise EventIdTaken("an event id has its verdict already")
        after = msgspec.structs.replace(plan.after, relayed_offset=relayed_offset)
        assert after.posted == after.seq
        assert after.posted + after.duplicates + after.rejected == after.next_offset - after.first_offset
        assert after.first_offset <= self.heads[after.shard].relayed_offset <= relayed_offset <= after.next_offset
        return Plan(plan.before, after, plan.posted, plan.verdicts)

    def apply(self, plan: Plan) -> None:
        shard = plan.before.shard
        for item in plan.posted:
            self.first[item.draft.event_id] = Known(shard, item.seq, item.body)
        for verdict in plan.verdicts:
            if verdict.first_verdict and verdict.event_id:
                self.first[verdict.event_id] = Known(shard, 0, None, verdict.content_hash, verdict.reason)
        self.posted.setdefault(shard, []).extend(plan.posted)
        self.verdicts.setdefault(shard, []).extend(plan.verdicts)
        self.heads[shard] = plan.after
        self.commits.append((shard, plan.before.next_offset, plan.after.next_offset))


@dataclass
class MemoryTransaction:
    """One batch's transaction: what it writes takes effect when its block ends."""

    ledger: MemoryLedger
    shard: int
    rejects_first: bool
    stale: bool
    written: Plan | None = None

    def look_up(self, event_ids: Sequence[str]) -> dict[str, Known]:
        known = {i: self.ledger.first[i] for i in event_ids if i in self.ledger.first}
        return {i: first for i, first in known.items() if first.shard == self.shard} if self.stale else known

    def write(self, plan: Plan, *, relayed_offset: int) -> Plan:
        assert self.rejects_first or not any(v.first_verdict for v in plan.verdicts), "a rejection without the lock"
        self.written = self.ledger.checked(plan, relayed_offset)
        return self.written


class MemoryPosterStore:
    """One session with the ledger. Armed by name: open, commit, note, unrelayed, and `stale`: a look-up that does not
    see what other shards have just committed."""

    def __init__(self, ledger: MemoryLedger, trouble: Trouble) -> None:
        self.ledger = ledger
        self.trouble = trouble
        self.closed = False

    def open_shard(self, shard: int, topic: str) -> ShardHead:
        self._fail("open", "not applied")
        head = self.ledger.heads.setdefault(shard, genesis(shard, topic))
        self._fail("open", "applied")
        return head

    def is_halted(self) -> bool:
        return self.ledger.halted

    def halt(self, reason: str, intent: AuditIntent) -> None:
        if not self.ledger.halted:
            self.ledger.halted = True
            self.ledger.intents.append(intent)

    @contextmanager
    def batch(self, head: ShardHead, *, rejects_first: bool) -> Iterator[MemoryTransaction]:
        self._fail("commit", "not applied")
        stands = self.ledger.heads[head.shard]
        if (stands.next_offset, stands.seq) != (head.next_offset, head.seq):
            raise Fenced("the head moved")
        if self.ledger.halted:
            raise Halted("halted")
        tx = MemoryTransaction(self.ledger, head.shard, rejects_first, stale=self.trouble.hit("stale", "applied"))
        yield tx
        if tx.written is not None:
            self.ledger.apply(tx.written)
        self._fail("commit", "applied")

    def note_relayed(self, shard: int, relayed_offset: int) -> None:
        self._fail("note", "not applied")
        head = self.ledger.heads[shard]
        if head.relayed_offset < relayed_offset:
            assert relayed_offset <= head.next_offset
            self.ledger.heads[shard] = msgspec.structs.replace(head, relayed_offset=relayed_offset)
        self._fail("note", "applied")

    def unrelayed(self, head: ShardHead, upto_offset: int) -> list[Unrelayed]:
        self._fail("unrelayed", "not applied")
        found = [
            Unrelayed(item.record.offset, (item.seq, item.draft.event_id, item.entry_hash, item.body), None)
            for item in self.ledger.posted.get(head.shard, [])
        ]
        found += [Unrelayed(verdict.offset, None, verdict) for verdict in self.ledger.verdicts.get(head.shard, [])]
        waiting = (item for item in found if head.relayed_offset <= item.offset < upto_offset)
        return sorted(waiting, key=lambda item: item.offset)

    def close(self) -> None:
        self.closed = True

    def _fail(self, name: str, mode: str) -> None:
        if self.closed or self.trouble.hit(name, mode):
            raise Unavailable("postgres", f"{name}: {mode}")


@dataclass
class MemoryTopic:
    """The settlements topic; None stands for an offset without a record (a transaction marker)."""

    name: str
    partitions: dict[int, list[Record | None]]


class MemorySource:
    """A member of a consumer group. What the group decides, the member learns in `poll`, unless it is `deaf`."""

    def __init__(
        self,
        topic: MemoryTopic,
        owned: set[int],
        start_offset: Callable[[int], int],
        on_revoked: Callable[[int], None],
        trouble: Trouble,
    ) -> None:
        self.topic = topic
        self.wanted = owned
        self.deaf = False
        self.positions: dict[int, int] = {}
        self.paused: set[int] = set()
        self.start_offset = start_offset
        self.on_revoked = on_revoked
        self.trouble = trouble

    @property
    def owned(self) -> frozenset[int]:
        return frozenset(self.positions)

    def poll(self, records_max: int, timeout_seconds: float) -> list[tuple[int, list[Record]]]:
        if self.trouble.hit("poll", "not applied"):
            raise Unavailable("kafka", "poll")
        if not self.deaf:
            self._learn(self.wanted)
        groups = []
        for partition, position in sorted(self.positions.items()):
            if partition in self.paused:
                continue
            log = self.topic.partitions[partition]
            records = [record for record in log[position:] if record is not None][:records_max]
            if records:
                self.positions[partition] = records[-1].offset + 1
                groups.append((partition, records))
        return groups

    def _learn(self, wanted: set[int]) -> None:
        for partition in sorted(set(self.positions) - wanted):
            del self.positions[partition]
            self.paused.discard(partition)
            self.on_revoked(partition)
        for partition in sorted(wanted - set(self.positions)):
            self.positions[partition] = self.start_offset(partition)

    def seek(self, partition: int, offset: int) -> None:
        self.positions[partition] = offset

    def pause(self, partition: int) -> None:
        self.paused.add(partition)

    def resume(self, partition: int) -> None:
        self.paused.discard(partition)

    def high_watermark(self, partition: int) -> int | None:
        return len(self.topic.partitions[partition])

    def note_done(self, partition: int, next_offset: int) -> None:
        """Kafka's own offsets are never read."""

    def close(self) -> None:
        self._learn(set())


@dataclass
class MemoryBroker:
    """What the output topics hold: (topic, partition) -> [(key, value, headers)]."""

    logs: dict[tuple[str, int], list[tuple[bytes | None, bytes | None, Headers]]] = field(default_factory=dict)

    def values(self, topic: str, partition: int) -> list[bytes]:
        return [value for _, value, _ in self.logs.get((topic, partition), []) if value is not None]


class MemoryPublisher:
    """An ordered producer. Armed by name: `flush` (a prefix gets through, the rest never will) and `queue` (full, and
    that failure is not remembered: exactly like the real one)."""

    def __init__(self, broker: MemoryBroker, trouble: Trouble, prefix: Callable[[int], int]) -> None:
        self.broker = broker
        self.trouble = trouble
        self.prefix = prefix
        self.pending: list[tuple[str, int, bytes | None, bytes | None, Headers]] = []
        self.failed = False

    def publish(
        self, topic: str, partition: int, *, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> None:
        self._raise_failed()
        if self.trouble.hit("queue", "not applied"):
            raise Unavailable("kafka", "the queue stayed full")
        self.pending.append((topic, partition, key, value, headers))

    def poll(self) -> None:
        self._raise_failed()
        self._deliver(self.prefix(len(self.pending)))

    def flush(self, timeout_seconds: float) -> None:
        self._raise_failed()
        if self.trouble.hit("flush", "not applied"):
            self.close()
            self._raise_failed()
        self._deliver(len(self.pending))

    def close(self) -> None:
        """Also what a crash does: some of what was queued is out already, the rest is gone."""
        self._deliver(self.prefix(len(self.pending)))
        self.pending.clear()
        self.failed = True

    def _deliver(self, count: int) -> None:
        for topic, partition, key, value, headers in self.pending[:count]:
            self.broker.logs.setdefault((topic, partition), []).append((key, value, headers))
        del self.pending[:count]

    def _raise_failed(self) -> None:
        if self.failed:
            raise Unavailable("kafka", "a delivery failed before")
