"""The range that is growing: journal entries in, cuts of the chain out. Pure.

Guarantees: every entry taken is canonical, balanced (G1), such as the rules of posting allow, next in sequence and
linked to the one before; where a range is cut depends on the entries alone (count of offsets, weight, recorded_at
window) or on an explicit idle cut, never on how the entries were batched; cuts follow each other without a gap in
sequences and in offsets. Ranges that were announced already (`announced_ends`) are cut where they were then alone.
Does not: read, write, sign, or ask for the time. State is a tree, BLOCK_ENTRIES_MAX hashes and what nobody drained.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import ge
from typing import Final

from ledger_core.books.entries import JournalEntry, decode_entry
from ledger_core.books.entry_checks import read_sound
from ledger_core.books.entry_rules import entry_faults
from ledger_core.books.rule_versions import rules_of
from ledger_core.chain import link, link_all
from ledger_core.errors import Corrupt, Unavailable
from ledger_core.proving.closed_range import ClosedRange, Cut
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.times import format_time, parse_time
from ledger_core.tree import CompactRange, leaf_hash, leaf_hashes

JournalItem = tuple[int, int, bytes, bytes]
"""(offset in the journal topic, seq, body, entry_hash)"""

BLOCK_ENTRIES_MAX: Final = 500  # checked together; more do not fit the processor's cache and cost half as much again
NO_END: Final = "~"  # after every time


@dataclass(frozen=True, slots=True)
class ShardPosition:
    """One consistent reading of a row of `shards`: what the poster had committed."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    topic: str  # Kafka topic, prefix included
    first_offset: int  # settlements offset where the shard began, inclusive
    next_offset: int  # settlements offset: all below are decided and reported, so no restore decides them otherwise
    seq: int  # of the newest entry; 0 at genesis
    head_hash: bytes | None  # of the newest entry, 32 bytes; None at genesis


@dataclass(slots=True)
class OpenRange:
    """The growing range of one shard. `take` every journal record in order; `idle` when nothing came for a while."""

    shard: int
    topic: str
    limits: RangeLimits
    first_seq: int
    prev_hash: bytes | None
    first_offset: int
    tree: CompactRange
    journal_offset: int  # after the newest record taken
    announced_ends: list[int] = field(default_factory=list)  # next_offset of each range to be cut as it was before
    fresh: list[bytes] = field(default_factory=list)  # leaf hashes that nobody has drained
    seq: int = field(init=False)
    head: bytes | None = field(init=False)
    seen_offset: int = field(init=False)  # after the newest entry taken: every offset below is accounted for
    _leaves: list[bytes] = field(init=False)
    _bytes: int = field(init=False)
    _totals: dict[str, int] = field(init=False)
    _from_ts: str | None = field(init=False)
    _to_ts: str | None = field(init=False)
    _window_end: str = field(init=False)

    def __post_init__(self) -> None:
        self.seq = self.first_seq - 1
        self.head = self.prev_hash
        self.seen_offset = self.first_offset
        self._forget()

    @classmethod
    def resume(
        cls, position: ShardPosition, last: ClosedRange | None, limits: RangeLimits, announced_ends: Sequence[int] = ()
    ) -> OpenRange:
        """The range after the last closed one, or the first of its shard. `announced_ends` ascend, beyond its start."""
        ends = list(announced_ends)
        if last is None:
            first = 1, None, position.first_offset, CompactRange(), 0
            return cls(position.shard, position.topic, limits, *first, ends)
        tree = CompactRange.from_bytes(last.last_seq, last.tree)
        place = last.last_seq + 1, last.head_hash, last.next_offset, tree, last.journal_offset
        return cls(last.shard, position.topic, limits, *place, ends)

    def take_block(self, records: Sequence[JournalItem]) -> Iterator[Cut]:
        """Take many records of the journal: the same as `take` one by one, at half the cost. The cuts before a record
        that raises are answered first."""
        at = 0
        while at < len(records):
            block = records[at : at + min(self._entries_left, BLOCK_ENTRIES_MAX)]
            taken = self._take_sound(self._up_to_full(block))
            at += taken
            if self._is_full:
                yield self._cut(self.seen_offset)
            elif not taken:  # something is not plain: a repeat, a cut, several currencies, a fault. Alone it shows.
                for record in block:
                    at += 1
                    cuts = self.take(*record)
                    yield from cuts
                    if cuts:
                        break

    @property
    def _entries_left(self) -> int:
        """How many entries the range can hold before it is full, if they stand one behind the other."""
        return self._end - self.seen_offset

    @property
    def _is_full(self) -> bool:
        """Ranges that were announced end where they did then, whatever they weigh."""
        return self._entries_left == 0 or (self._bytes >= self.limits.bytes_max and not self.announced_ends)

    def _up_to_full(self, records: Sequence[JournalItem]) -> Sequence[JournalItem]:
        """The first of them, up to the one with which the range weighs what it may."""
        if self.announced_ends:
            return records
        sizes = accumulate((len(item[2]) for item in records), initial=self._bytes)
        return records[: sum(size < self.limits.bytes_max for size in sizes)]

    @property
    def _end(self) -> int:
        """The offset at which the range is full."""
        return self.announced_ends[0] if self.announced_ends else self.first_offset + self.limits.offsets_max

    def take(self, journal_offset: int, seq: int, body: bytes, entry_hash: bytes) -> Sequence[Cut]:
        """Take one record of the journal and answer the ranges it completes, oldest first (usually none).

        A sequence seen before is skipped. Raises Corrupt on a gap, on an entry that is not canonical or
        not balanced, that has another place than its record says, or that does not continue the chain.
        """
        if seq <= self.seq:
            self.journal_offset = journal_offset + 1
            return ()
        entry, offset = self._checked(seq, body, entry_hash)
        recorded_at = entry.recorded_at
        cuts: list[Cut] = list(self._cut_through(offset))
        if self._from_ts is None:
            self._window_end = self._end_of_window(recorded_at)
        elif recorded_at > self._window_end:
            cuts = [self._cut(offset)]  # an offset beyond the count was cut above, and left no window open
            self._window_end = self._end_of_window(recorded_at)
        self._add(entry, body, entry_hash, offset)
        self.journal_offset = journal_offset + 1
        if self._is_full:
            cuts.append(self._cut(offset + 1))
        return cuts

    def idle(self, position: ShardPosition) -> Sequence[Cut]:
        """Nothing came for a while: cut what there is, and what follows that posted nothing. Raises as `reached`."""
        end = self.reached(position)
        cuts = list(self._cut_through(end))
        if end > self.first_offset and not self.announced_ends:
            cuts.append(self._cut(end))
        return cuts

    def reached(self, position: ShardPosition) -> int:
        """Below it all is known: what follows the newest entry, too, once all that the poster committed was taken.
        Raises Unavailable while the database has fewer entries than the journal (it was put back), Corrupt for another
        chain."""
        if position.seq < self.seq:
            raise Unavailable(
                "poster", f"shard {self.shard}: the journal ends at seq {self.seq}, Postgres {position.seq} so far"
            )
        if position.seq > self.seq:
            return self.seen_offset
        if position.head_hash != self.head:  # nothing below its next_offset is still on its way
            raise Corrupt(f"shard {self.shard}, seq {self.seq}: Postgres and the journal have different heads")
        return max(self.seen_offset, position.next_offset)

    def drain(self) -> list[bytes]:
        """The leaf hashes of the entries taken since this was asked last."""
        drained, self.fresh = self.fresh, []
        return drained

    def _take_sound(self, records: Sequence[JournalItem]) -> int:
        """Take those records from the first on that are plainly sound and complete no range; how many they were."""
        if records[0][1] != self.seq + 1:
            return 0
        journal_offsets, _, bodies, hashes = zip(*records, strict=True)
        if link_all(bodies, self.head) != list(hashes):
            return 0
        block = read_sound(bodies, self.shard, self.seq + 1, b"\n".join(bodies) + b"\n")
        if block is None or block.from_ts is None or block.to_ts is None or block.topics != {self.topic}:
            return 0
        offsets = block.offsets
        if offsets[0] < self.seen_offset or any(map(ge, offsets, offsets[1:])):
            return 0
        times = [entry.recorded_at for entry in block.entries if entry is not None]
        window_end = self._window_end if self._from_ts is not None else self._end_of_window(times[0])
        fits = bisect_left(offsets, self._end)
        if block.to_ts > window_end:
            fits = min(fits, next(number for number, text in enumerate(times) if text > window_end))
        if fits < len(records):
            return self._take_sound(records[:fits]) if fits else 0
        for currency, amount_minor in block.totals.items():
            self._totals[currency] = self._totals.get(currency, 0) + amount_minor
        self._from_ts = block.from_ts if self._from_ts is None else min(self._from_ts, block.from_ts)
        self._to_ts = block.to_ts if self._to_ts is None else max(self._to_ts, block.to_ts)
        self._window_end = window_end
        self._grow(leaf_hashes(bodies))
        self._bytes += sum(map(len, bodies))
        self.seq += len(records)
        self.head = hashes[-1]
        self.seen_offset = offsets[-1] + 1
        self.journal_offset = journal_offsets[-1] + 1
        return len(records)

    def _checked(self, seq: int, body: bytes, entry_hash: bytes) -> tuple[JournalEntry, int]:
        if seq != self.seq + 1:
            raise Corrupt(f"shard {self.shard}: the journal goes from seq {self.seq} to {seq}: a gap")
        if link(body, self.head) != entry_hash:
            raise Corrupt(f"shard {self.shard}, seq {seq}: entry_hash does not continue the chain")
        try:
            entry = decode_entry(body)
        except ValueError as error:
            raise Corrupt(f"shard {self.shard}, seq {seq}: not a journal entry: {error}") from error
        rules_of(entry.rules)
        for fault in entry_faults(entry):
            raise Corrupt(f"shard {self.shard}, seq {seq}: {fault.field} breaks a rule of posting: {fault.message}")
        source = entry.source
        if entry.seq != str(seq) or entry.shard != self.shard or source.partition != self.shard:
            raise Corrupt(f"shard {self.shard}, seq {seq}: the entry says it is shard {entry.shard}, seq {entry.seq}")
        offset = int(source.offset)
        if offset < self.seen_offset or source.topic != self.topic:
            raise Corrupt(
                f"shard {self.shard}, seq {seq}: source {source.topic} offset {offset} is not after "
                f"{self.topic} offset {self.seen_offset - 1}"
            )
        return entry, offset

    def _add(self, entry: JournalEntry, body: bytes, entry_hash: bytes, offset: int) -> None:
        totals = self._totals
        for line in entry.lines:
            if line.side == "debit":  # credits are equal, or decoding the entry had failed
                totals[line.currency] = totals.get(line.currency, 0) + int(line.amount_minor)
        self._to_ts = max(self._to_ts or entry.recorded_at, entry.recorded_at)
        self._from_ts = min(self._from_ts or entry.recorded_at, entry.recorded_at)
        self._grow([leaf_hash(body)])
        self._bytes += len(body)
        self.seq += 1
        self.head = entry_hash
        self.seen_offset = offset + 1

    def _end_of_window(self, recorded_at: str) -> str:
        if self.announced_ends:
            return NO_END
        try:
            return format_time(parse_time(recorded_at) + dt.timedelta(seconds=self.limits.window_seconds))
        except OverflowError:  # no time is later: the window never ends
            return NO_END

    def _cut_through(self, end: int) -> Iterator[Cut]:
        """Cut as often as the count of offsets (or what was announced) asks for; the rest ends at or before `end`."""
        while end >= self._end:
            yield self._cut(self._end)

    def _grow(self, leaves: Sequence[bytes]) -> None:
        self._leaves += leaves
        self.fresh += leaves
        if len(self._leaves) >= BLOCK_ENTRIES_MAX:  # a prover may have an open range of each of many shards
            self.tree, self._leaves = self.tree.extend(self._leaves), []

    def _cut(self, next_offset: int) -> Cut:
        self.tree = self.tree.extend(self._leaves)
        cut = Cut(
            shard=self.shard,
            topic=self.topic,
            first_seq=self.first_seq,
            last_seq=self.seq,
            prev_hash=self.prev_hash,
            head_hash=self.head,
            first_offset=self.first_offset,
            next_offset=next_offset,
            tree=self.tree,
            totals=self._totals,
            from_ts=self._from_ts,
            to_ts=self._to_ts,
            journal_offset=self.journal_offset,
        )
        self.first_seq = self.seq + 1
        self.prev_hash = self.head
        self.first_offset = self.seen_offset = next_offset
        del self.announced_ends[:1]
        self._forget()
        return cut

    def _forget(self) -> None:
        self._leaves, self._bytes = [], 0
        self._totals = {}
        self._from_ts = self._to_ts = None
        self._window_end = ""
