"""The keeper: personal data from the side topic into `personal_data`, which no process of the ledger reads.

The order of side effects; each step stands as a comment where it happens:
  1. READ a batch of one partition, behind the cursor        nothing changes; a crash reads it again
  2. COMMIT: its rows, what was refused, the cursor          the commit point, one transaction
  3. SETTLE: rows that wait are compared with their entries  one transaction; a crash compares them again
  4. FORGET: rows of events that were erased go              one transaction; a crash forgets them again
Guarantees: data may come before their event or behind it. What is kept has its entry's digest. No record stops it: what
cannot be read, belongs to no event or contradicts its entry is noted by offset and digest, without data. A record
without a value deletes nothing by itself, for any publisher can send one: an operator's decision does, here or on the
audit chain, and it holds for whatever comes later.
Does not: post, prove, or know what the data say: its role cannot read them back. Nothing waits for it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from consumers.kafka.source import OpenSource
from consumers.metrics import Metrics
from consumers.personal.sorting import read, sort, verdict
from ledger_core.books.personal import NewRow, RefusedRow, WaitingRow
from ledger_core.errors import Unreadable
from ledger_core.ports import Record
from ledger_core.posting.store_port import Fenced

LINGER_SECONDS: Final = 0.2
SETTLE_SECONDS: Final = 0.5  # between two passes over what waits
FORGET_SECONDS: Final = 1.0
PRUNE_SECONDS: Final = 3600.0

REFUSED_REMEDY: Final = "see table personal_refused and RUNBOOK, section 16"

log = structlog.get_logger("keeper")


class Store(Protocol):
    """See `ledger_core.postgres.personal.keeper_store`."""

    def next_offset(self, partition: int) -> int: ...

    def known(self, event_ids: Sequence[str]) -> tuple[dict[str, bytes | None], set[str]]: ...

    def write(
        self, partition: int, offset: int, next_offset: int, rows: Sequence[NewRow], refused: Sequence[RefusedRow]
    ) -> int: ...

    def waiting(self, after: int, limit: int) -> Sequence[WaitingRow]: ...

    def settle(self, keep: Sequence[WaitingRow], drop: Sequence[tuple[WaitingRow, str]]) -> None: ...

    def forget(self, *, everything: bool) -> int: ...

    def prune(self) -> None: ...

    def close(self) -> None: ...


class Keeper:
    """A service (consumers.service.Service). `end_of(partition, offset)` is asked where nothing can be read: the offset
    behind it. The store and the source are its own and end with it."""

    name = "keeper"

    def __init__(
        self,
        store: Store,
        open_source: OpenSource,
        *,
        end_of: Callable[[int, int], int],
        batch_records_max: int,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._end_of = end_of
        self._batch_records_max = batch_records_max
        self._metrics = metrics
        self._monotonic = monotonic
        self._next: dict[int, int] = {}  # by partition: behind what is committed
        self._fresh_at: dict[int, float] = {}  # by partition: when nothing waited
        self._settled = 0  # the rows that wait were compared up to this one
        self._settle_at = self._forget_at = self._prune_at = float("-inf")
        self._forgot_all = False
        self._source = open_source(self._start_offset, self._revoked)

    def step(self) -> bool:
        """Read and keep once, settle a page of what waits. Raises Unavailable, Refused."""
        # 1. READ. Nothing changes: a crash, or the next owner, reads again from the cursor.
        worked = False
        for partition, records in self._poll():
            self._keep(partition, records)
            worked = True
        now = self._monotonic()
        for partition in self._source.owned & self._next.keys():
            if (end := self._source.passed(partition, self._next[partition])) > self._next[partition]:
                self._write(partition, end, [], [])  # markers of transactions, and what was aborted: nothing to keep
            self._tell_lag(partition, now)
        if now >= self._forget_at:
            self._forget(now)
        if now >= self._settle_at:
            worked |= self._settle(now)
        if now >= self._prune_at:
            self._store.prune()
            self._prune_at = now + PRUNE_SECONDS
        return worked

    def close(self) -> None:
        try:
            self._source.close()
        finally:
            self._store.close()

    def _start_offset(self, partition: int) -> int:
        self._next[partition] = self._store.next_offset(partition)
        self._fresh_at.setdefault(partition, self._monotonic())
        return self._next[partition]

    def _revoked(self, partition: int) -> None:
        self._next.pop(partition, None)
        self._fresh_at.pop(partition, None)
        self._metrics.released(partition)

    def _poll(self) -> list[tuple[int, list[Record]]]:
        try:
            return self._source.poll(self._batch_records_max, LINGER_SECONDS)
        except Unreadable as found:  # no ledger depends on it: it is noted, and passed over
            partition, first = found.partition, found.offset
            end = self._end_of(partition, first)
            self._write(partition, end, [], [RefusedRow(partition, first, None, "unreadable")])
            self._source.pass_over(partition, first, end)
            return []

    def _keep(self, partition: int, records: Sequence[Record]) -> None:
        if partition not in self._next:
            return  # it went while another one was kept
        reads = [read(record) for record in records]
        digests, erased = self._store.known(sorted({it.event_id for it in reads if it.event_id is not None}))
        batch = sort(partition, reads, digests, erased)
        self._write(partition, records[-1].offset + 1, batch.rows, batch.refused)
        self._metrics.personal("received", len(batch.rows))

    def _write(self, partition: int, end: int, rows: Sequence[NewRow], refused: Sequence[RefusedRow]) -> None:
        # 2. COMMIT. A crash before: nothing happened, and the batch is read again; after: done.
        try:
            crowded = self._store.write(partition, self._next[partition], end, rows, refused)
        except Fenced:
            # Another keeper has the partition, or had it: go on from what Postgres says.
            self._source.seek(partition, self._start_offset(partition))
            return
        self._next[partition] = end
        self._source.note_done(partition, end)
        self._tell([row.reason for row in refused] + ["crowded_out"] * crowded)

    def _settle(self, now: float) -> bool:
        # 3. SETTLE. A page at a time, from the oldest on and round again. A crash: compared again.
        rows = self._store.waiting(self._settled, self._batch_records_max)
        self._settled = rows[-1].arrival if len(rows) == self._batch_records_max else 0
        if self._settled == 0:
            self._settle_at = now + SETTLE_SECONDS
        if not rows:
            return False
        digests, erased = self._store.known(sorted({row.event_id for row in rows}))
        keep, drop = [], []
        for row in rows:
            word = verdict(row, digests, erased)
            if word == "":
                keep.append(row)
            elif word is not None:
                drop.append((row, word))
        if keep or drop:
            self._store.settle(keep, drop)
            self._metrics.personal("kept", len(keep))
            self._tell([word for _, word in drop])
        return bool(keep or drop)

    def _forget(self, now: float) -> None:
        # 4. FORGET. A crash: forgotten by the next one, which begins with whatever was ever erased.
        gone = self._store.forget(everything=not self._forgot_all)
        self._forgot_all = True
        self._forget_at = now + FORGET_SECONDS
        if gone:
            self._metrics.personal("forgotten", gone)
            log.info("keeper.forgotten", rows=gone)

    def _tell_lag(self, partition: int, now: float) -> None:
        """Seconds: since nothing waited. A publisher's own time of a record says nothing of its age here."""
        waiting = self._source.waiting(partition, self._next[partition]) or 0
        if not waiting:
            self._fresh_at[partition] = now
        self._metrics.lag(partition, waiting, now - self._fresh_at[partition])

    def _tell(self, words: Sequence[str]) -> None:
        for word, count in sorted(Counter(words).items()):
            self._metrics.personal(word, count)
            log.warning("keeper.refused", reason=word, count=count, remedy=REFUSED_REMEDY)
