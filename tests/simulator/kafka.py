"""Kafka in memory: partitions, a member of a consumer group, and a producer that keeps its order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from consumers.kafka.source import OnRevoked, StartOffset
from ledger_core.errors import Unavailable, Unreadable
from ledger_core.ports import Record
from tests.simulator.faults import Faults

Headers = Sequence[tuple[str, bytes | None]]
Partitions = Mapping[int, Sequence[Record | None]]  # None stands for an offset without a record (a transaction marker)


class MemorySource:
    """A member that owns `wanted` (every partition unless it is said) and reads at most `records_max` of one a poll.

    What the group decides, the member learns in `poll`, unless it is `deaf`. The step is `poll`.
    """

    def __init__(
        self,
        partitions: Partitions,
        start_offset: StartOffset,
        on_revoked: OnRevoked,
        faults: Faults,
        *,
        wanted: set[int] | None = None,
        records_max: int = 1_000_000,
    ) -> None:
        self.partitions = partitions
        self.start_offset = start_offset
        self.on_revoked = on_revoked
        self.faults = faults
        self.wanted = wanted
        self.records_max = records_max
        self.deaf = False
        self.unreadable: dict[int, tuple[int, int]] = {}  # partition -> offsets [first, end) that nobody can read
        self.positions: dict[int, int] = {}
        self.paused: set[int] = set()

    @property
    def owned(self) -> frozenset[int]:
        return frozenset(self.positions)

    def poll(self, records_max: int, timeout_seconds: float) -> list[tuple[int, list[Record]]]:
        return self.faults.call("kafka", self._poll, min(records_max, self.records_max))

    def _poll(self, records_max: int) -> list[tuple[int, list[Record]]]:
        if not self.deaf:
            self._learn(set(self.partitions) if self.wanted is None else self.wanted)
        groups = []
        for partition, position in sorted(self.positions.items()):
            if partition in self.paused:
                continue
            log = self.partitions[partition]
            first, end = self.unreadable.get(partition, (0, 0))
            if first <= position < end:
                raise Unreadable("no reader", remedy="none", partition=partition, offset=first)
            if position < first:
                log = [it for it in log if it is None or it.offset < first]
            records = [it for it in log if it is not None and it.offset >= position][:records_max]
            if records:
                self.positions[partition] = records[-1].offset + 1
                groups.append((partition, records))
        return groups

    def _learn(self, wanted: set[int]) -> None:
        for partition in sorted(set(self.positions) - wanted):
            self.revoke(partition)
        for partition in sorted(wanted - set(self.positions)):
            self.positions[partition] = self.start_offset(partition)

    def revoke(self, partition: int) -> None:
        del self.positions[partition]
        self.paused.discard(partition)
        self.on_revoked(partition)

    def seek(self, partition: int, offset: int) -> None:
        self.positions[partition] = offset

    def pass_over(self, partition: int, first: int, end: int) -> None:
        self.seek(partition, end)

    def pause(self, partition: int) -> None:
        self.paused.add(partition)

    def resume(self, partition: int) -> None:
        self.paused.discard(partition)

    def waiting(self, partition: int, next_offset: int) -> int | None:
        return sum(it is not None and it.offset >= next_offset for it in self.partitions[partition])

    def passed(self, partition: int, next_offset: int) -> int:
        return next_offset

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
    """A producer that is ordered within a topic; of several, one may get all of its records through before the others
    get any (the journal first, which is what must not hurt). Steps that may be armed as not applied: `flush` (a prefix
    gets through, the rest never will) and `queue` (full, and that failure is not remembered: exactly like the real
    one)."""

    def __init__(
        self, broker: MemoryBroker, faults: Faults, prefix: Callable[[int], int] = lambda count: count
    ) -> None:
        self.broker = broker
        self.faults = faults
        self.prefix = prefix
        self.pending: list[tuple[str, int, bytes | None, bytes | None, Headers]] = []
        self.failed = False

    def publish(
        self, topic: str, partition: int, *, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> None:
        self._raise_failed()
        if self.faults.hits("queue", "not applied"):
            raise Unavailable("kafka", "the queue stayed full")
        self.pending.append((topic, partition, key, value, headers))

    def poll(self) -> int:
        self._raise_failed()
        self._deliver(self.prefix(len(self.pending)))
        return len(self.pending)

    def flush(self, timeout_seconds: float) -> None:
        self._raise_failed()
        if self.faults.hits("flush", "not applied"):
            self.close()
            self._raise_failed()
        self._deliver(len(self.pending))

    def close(self) -> None:
        """Also what a crash does: some of what was queued is out already, the rest is gone."""
        self._deliver(self.prefix(len(self.pending)))
        self.pending.clear()
        self.failed = True

    def _deliver(self, count: int) -> None:
        self.pending.sort(key=lambda item: item[0])  # stable: within a topic the order stays
        for topic, partition, key, value, headers in self.pending[:count]:
            self.broker.logs.setdefault((topic, partition), []).append((key, value, headers))
        del self.pending[:count]

    def _raise_failed(self) -> None:
        if self.failed:
            raise Unavailable("kafka", "a delivery failed before")
