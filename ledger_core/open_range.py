"""The range that is growing: journal entries in, cuts of the chain out. Pure.

Guarantees: every entry taken is canonical, balanced (G1), next in sequence and linked to the one before; where a range
is cut depends on the entries alone (count of offsets, recorded_at window) or on an explicit idle cut, never on how the
entries were batched; cuts follow each other without a gap in sequences and in offsets.
Does not: read, write, sign, or tell the time. State is O(offsets_max) small hashes, whatever the backlog.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger_core.closed_range import ClosedRange, Cut
from ledger_core.errors import Corrupt
from ledger_core.journal import JournalEntry, decode_entry
from ledger_core.times import format_time, parse_time
from ledger_core.tree import CompactRange

LEAF_PREFIX: Final = b"\x00"  # RFC 6962 section 2.1; inlined, because it is met once for every entry


@dataclass(frozen=True, slots=True)
class RangeLimits:
    """A range covers at most `offsets_max` settlement offsets (and so at most as many entries and verdicts), and its
    entries lie within `window_seconds` of the first one's recorded_at."""

    offsets_max: int
    window_seconds: int

    def __post_init__(self) -> None:
        if self.offsets_max < 1 or self.window_seconds < 1:
            raise ValueError("range limits are positive")


@dataclass(frozen=True, slots=True)
class ShardPosition:
    """One consistent reading of a row of `shards`: what the poster had committed."""

    shard: int
    topic: str
    first_offset: int
    next_offset: int
    seq: int
    head_hash: bytes | None


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
    seq: int = field(init=False)
    head: bytes | None = field(init=False)
    seen_offset: int = field(init=False)  # after the newest entry taken: every offset below is accounted for
    _leaves: list[bytes] = field(init=False)
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
    def resume(cls, position: ShardPosition, last: ClosedRange | None, limits: RangeLimits) -> OpenRange:
        """The range after the last closed one, or the first of its shard."""
        if last is None:
            genesis = CompactRange(0, ())
            return cls(position.shard, position.topic, limits, 1, None, position.first_offset, genesis, 0)
        tree = CompactRange.from_bytes(last.last_seq, last.tree)
        first_seq = last.last_seq + 1
        return cls(
            last.shard, position.topic, limits, first_seq, last.head_hash, last.next_offset, tree, last.journal_offset
        )

    def take(self, journal_offset: int, seq: int, body: bytes, entry_hash: bytes) -> Sequence[Cut]:
        """Take one record of the journal and answer the ranges it completes, oldest first (usually none).

        A sequence seen before is a repeat and is skipped. Raises Corrupt on a gap, on an entry that is not canonical or
        not balanced, that has another place than its record says, or that does not continue the chain.
        """
        if seq <= self.seq:
            self.journal_offset = journal_offset + 1
            return ()
        entry, offset = self._checked(seq, body, entry_hash)
        cuts: list[Cut] = []
        recorded_at = entry.recorded_at
        if offset >= self.first_offset + self.limits.offsets_max:
            cuts = list(self._cut_through(offset))
        if self._from_ts is None:
            self._open_window(recorded_at)
        elif recorded_at > self._window_end:
            cuts = [self._cut(offset)]  # an offset beyond the count was cut above, and left no window open
            self._open_window(recorded_at)
        self._add(entry, body, entry_hash, offset)
        self.journal_offset = journal_offset + 1
        if offset + 1 == self.first_offset + self.limits.offsets_max:
            cuts.append(self._cut(offset + 1))
        return cuts

    def idle(self, position: ShardPosition) -> Sequence[Cut]:
        """Nothing came for a while: cut what there is, with the offsets after it that posted nothing.

        Those are known when every entry the poster committed was taken. Raises Corrupt when the database holds fewer
        entries than the journal, or another chain.
        """
        if position.seq < self.seq:
            raise Corrupt(
                f"shard {self.shard}: Postgres ends at seq {position.seq}, the journal at {self.seq}: "
                "the database is older than what was published"
            )
        end = self.seen_offset
        if position.seq == self.seq:  # then nothing below its next_offset is still on its way
            if position.head_hash != self.head:
                raise Corrupt(f"shard {self.shard}, seq {self.seq}: Postgres and the journal hold different heads")
            end = position.next_offset
        cuts = list(self._cut_through(end))
        if end > self.first_offset:
            cuts.append(self._cut(end))
        return cuts

    def _checked(self, seq: int, body: bytes, entry_hash: bytes) -> tuple[JournalEntry, int]:
        if seq != self.seq + 1:
            raise Corrupt(f"shard {self.shard}: the journal goes from seq {self.seq} to {seq}: a gap")
        head = self.head
        # chain.link, inlined: met once for every entry.
        if hashlib.sha256(body if head is None else body + head).digest() != entry_hash:
            raise Corrupt(f"shard {self.shard}, seq {seq}: entry_hash does not continue the chain")
        try:
            entry = decode_entry(body)
        except ValueError as error:
            raise Corrupt(f"shard {self.shard}, seq {seq}: not a journal entry: {error}") from error
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
        recorded_at = entry.recorded_at
        if self._to_ts is None or recorded_at > self._to_ts:
            self._to_ts = recorded_at
        if self._from_ts is None or recorded_at < self._from_ts:
            self._from_ts = recorded_at
        self._leaves.append(hashlib.sha256(LEAF_PREFIX + body).digest())
        self.seq += 1
        self.head = entry_hash
        self.seen_offset = offset + 1

    def _open_window(self, recorded_at: str) -> None:
        window = dt.timedelta(seconds=self.limits.window_seconds)
        self._window_end = format_time(parse_time(recorded_at) + window)

    def _cut_through(self, end: int) -> Iterator[Cut]:
        """Cut as often as the count of offsets asks for, so that what is left ends at or before `end`."""
        while end >= self.first_offset + self.limits.offsets_max:
            yield self._cut(self.first_offset + self.limits.offsets_max)

    def _cut(self, next_offset: int) -> Cut:
        tree = self.tree.extend(self._leaves)
        cut = Cut(
            shard=self.shard,
            topic=self.topic,
            first_seq=self.first_seq,
            last_seq=self.seq,
            prev_hash=self.prev_hash,
            head_hash=self.head,
            first_offset=self.first_offset,
            next_offset=next_offset,
            tree=tree,
            totals=self._totals,
            from_ts=self._from_ts,
            to_ts=self._to_ts,
            journal_offset=self.journal_offset,
        )
        self.first_seq = self.seq + 1
        self.prev_hash = self.head
        self.first_offset = self.seen_offset = next_offset
        self.tree = tree
        self._forget()
        return cut

    def _forget(self) -> None:
        self._leaves = []
        self._totals = {}
        self._from_ts = self._to_ts = None
        self._window_end = ""
