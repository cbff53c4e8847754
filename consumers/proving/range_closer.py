"""Closing the next range of a shard, in one transaction: from then on the bytes to sign are fixed.

Guarantees: nothing is closed in another epoch than the one in which the guard checked.
Does not: decide where a range is cut (`ledger_core.proving.open_range`), sign it (`consumers.proving.prover`), or close
again what the database lost (`consumers.proving.adoption`).
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from consumers.proving.published_guard import ClosingGuard
from consumers.signing.signer_set import SignerSet
from ledger_core.ports import AuditIntent
from ledger_core.proving.announced_range import AnnouncedRange
from ledger_core.proving.checkpoint import origin_of
from ledger_core.proving.closed_range import (
    ClosedRange,
    ClosingTerms,
    Cut,
    close_range,
    silent_offsets,
    verdict_tree_of,
)
from ledger_core.proving.intents import posted_intent
from ledger_core.proving.open_range import OpenRange, ShardPosition
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.proving.range_proof import parse_payload
from ledger_core.proving.statement_time import statement_time
from ledger_core.tree import CompactRange

log: Final = structlog.get_logger("prover")
EMPTY_TREE: Final = CompactRange()


class ClosingStore(Protocol):
    """See `ledger_core.postgres.proving.prover_store`. Every method may raise Unavailable("postgres")."""

    def position(self, shard: int) -> ShardPosition | None: ...

    def last_range(self, shard: int) -> ClosedRange | None: ...

    def now(self) -> dt.datetime: ...

    def accepted_until(self, shard: int) -> dt.datetime | None: ...

    def verdict_lines(self, shard: int, first_offset: int, next_offset: int) -> list[bytes]: ...

    def close_range(self, closed: ClosedRange, intent: AuditIntent, epoch_no: int | None) -> bool: ...


@dataclass(frozen=True, slots=True)
class RecordBase:
    """A shard's record up to the last closed range: what the open one grows from."""

    entries: CompactRange  # tree of the entries
    verdicts: CompactRange  # tree of the verdict lines
    first_offset: int  # settlements offset where the record begins, inclusive

    @property
    def next_offset(self) -> int:
        return self.first_offset + self.entries.size + self.verdicts.size


@dataclass(slots=True)
class ProvedShard:
    """What the prover holds of an owned partition; all of it can be read again from Postgres and the journal."""

    number: int
    growing: OpenRange | None = None  # None while Postgres knows nothing of the shard
    base: RecordBase | None = None  # where `growing` began
    range_no: int = 0
    prev_hash: str | None = None  # of the newest closed range's payload
    posted_seq: int = 0  # newest entry that Postgres is known to hold
    verdicts: CompactRange = EMPTY_TREE  # of the verdict lines below the newest closed range's end
    quiet_since: float = 0.0
    may_wait: bool = True  # for a signature: some closed range may have no proof
    announced: deque[AnnouncedRange] = field(default_factory=deque)  # to be closed next, as they were
    waits_until: float | None = None  # its newest records are dated ahead: when they are read again
    newest: tuple[int, int] | None = None  # offset and time (ms) of the newest journal record that was taken


class RangeCloser:
    """The clock gives UTC times, `new_trace_id` 32 hex digits."""

    def __init__(
        self,
        store: ClosingStore,
        signers: SignerSet,
        guard: ClosingGuard,
        *,
        env: str,
        domain: str,
        limits: RangeLimits,
        actor_id: str,
        clock: Callable[[], dt.datetime],
        new_trace_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._signers = signers
        self._guard = guard
        self._env = env
        self._domain = domain
        self._limits = limits
        self._actor_id = actor_id
        self._clock = clock
        self._new_trace_id = new_trace_id

    def load(self, shard: ProvedShard) -> OpenRange | None:
        """Where the shard stands, by Postgres and by what is announced of it."""
        position = self._store.position(shard.number)
        if position is None:
            return None
        last = self._store.last_range(shard.number)
        shard.posted_seq = position.seq
        shard.range_no = 0 if last is None else last.range_no
        shard.prev_hash = None if last is None else last.hash.hex()
        shard.may_wait = last is not None
        start = position.first_offset if last is None else last.next_offset
        shard.verdicts = EMPTY_TREE if last is None else verdict_tree_of(last, position.first_offset)
        ends = self._announced_ends(shard, start)
        shard.growing = OpenRange.resume(position, last, self._limits, ends)
        shard.base = RecordBase(shard.growing.tree, shard.verdicts, position.first_offset)
        return shard.growing

    def close(self, shard: ProvedShard, cut: Cut) -> bool:
        """Write the cut down, on terms of now. False: another process did (or a new epoch began), and the shard is to
        be read anew."""
        closed = self._closed(shard, cut, self._terms(shard, cut))
        intent = posted_intent(closed, parse_payload(closed.payload), self._actor_id)
        return self._write(shard, closed, intent, "range.closed")

    def _announced_ends(self, _shard: ProvedShard, _start: int, /) -> list[int]:
        """Where the next ranges of the shard must be cut: nowhere but by the rules (see `AdoptingCloser`)."""
        return []

    def _closed(self, shard: ProvedShard, cut: Cut, terms: ClosingTerms) -> ClosedRange:
        silent = silent_offsets(cut)
        lines = self._store.verdict_lines(cut.shard, cut.first_offset, cut.next_offset) if silent else []
        return close_range(cut, lines, terms, shard.verdicts)

    def _write(self, shard: ProvedShard, closed: ClosedRange, intent: AuditIntent, told: str) -> bool:
        # The commit point. A crash before it reads the entries again; after it, the bytes to sign are fixed.
        if not self._store.close_range(closed, intent, self._guard.epoch_no):
            log.warning("range.closed_elsewhere", shard=shard.number, range_no=closed.range_no)
            return False
        shard.range_no, shard.prev_hash, shard.may_wait = closed.range_no, closed.hash.hex(), True
        shard.verdicts = CompactRange.from_bytes(shard.verdicts.size + silent_offsets(closed), closed.verdict_tree)
        log.info(
            told,
            shard=shard.number,
            range_no=closed.range_no,
            first_seq=closed.first_seq,
            last_seq=closed.last_seq,
            next_offset=closed.next_offset,
            trace_id=parse_payload(closed.payload).trace_id,
        )
        return True

    def _terms(self, shard: ProvedShard, cut: Cut) -> ClosingTerms:
        self._signers.check_current()
        return ClosingTerms(
            env=self._env,
            origin=origin_of(self._domain, self._env, shard.number),
            range_no=shard.range_no + 1,
            prev_proof_hash=shard.prev_hash,
            signer_kid=self._signers.kid,
            alg=self._signers.algorithm,
            trace_id=self._new_trace_id(),
            ts=statement_time(
                self._clock(), self._store.now(), cut.to_ts, lambda: self._store.accepted_until(cut.shard)
            ),
        )
