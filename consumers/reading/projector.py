"""The projector: every entry of the journal becomes rows of the projection, which answers questions.

The order of side effects; each step stands as a comment where it happens:
  1. READ journal records of a shard, behind its cursor     nothing changes; a crash reads them again
  2. FOLD them: chain, balance, rules of posting            in memory
  3. COMMIT rows, sums of full blocks and the cursor        the commit point, one transaction
  4. CLOSE a shard in which nothing comes                   one transaction: it answers up to that time from then on
Guarantees: nothing is shown that does not continue the chain. Fed twice is fed once; a record that comes again is
compared. What is wrong with one shard's journal lets that shard stand, with a remedy in the log, and no other; nobody
is halted: what is wrong with the journal, the prover finds too.
Does not: keep anything in memory between batches but the place of each shard, or touch what posting reads or writes.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from consumers.kafka.journal_records import journal_items
from consumers.kafka.source import OpenSource
from consumers.metrics import Metrics
from consumers.reading.sound_part import explained, take_sound_part
from ledger_core.errors import Unreadable
from ledger_core.ports import Record
from ledger_core.posting.store_port import Fenced
from ledger_core.reading.fold import REMEDY, Folded, JournalItem, ShardReach, fold
from ledger_core.reading.known import KeptTime, close_at
from ledger_core.times import EPOCH, MICROSECOND

LINGER_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 5.0  # without a record, before a shard is closed, and between two closings
US_PER_SECOND: Final = 1_000_000
RETRY_SECONDS: Final = 60.0  # before the journal of a shard that stands is read again

log = structlog.get_logger("projector")

SilentUntil = Callable[[ShardReach], int | None]
"""Up to when nothing more can come of a shard that was read to its end, in microseconds since 1970: everything that the
settlements topic had by then is decided and in front of this place. None while that is not known."""


class Beside(Protocol):
    """What is read beside the journal: see `consumers.reading.follower`."""

    def step(self) -> bool: ...

    def close(self) -> None: ...


class ProjectionPort(Protocol):
    """See `ledger_core.postgres.reading.projection_store`. Every method may raise Unavailable("postgres")."""

    def reach(self, shard: int) -> ShardReach: ...

    def kept(self, shard: int, after_seq: int, limit: int) -> Mapping[int, Sequence[KeptTime]]: ...

    def write(self, before: ShardReach, folded: Folded) -> None: ...

    def close_shard(self, before: ShardReach, closed: KeptTime) -> ShardReach: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Shard:
    """What is known of an owned shard; all of it is read again from Postgres when it is owned anew."""

    reach: ShardReach
    heard_at: float  # a record came, or it was closed
    stands_until: float | None = None  # its journal was refused: when it is read again


def take_journal(store: ProjectionPort, before: ShardReach, records: Sequence[Record], now: dt.datetime) -> ShardReach:
    """Commit the rows of journal records of one shard; the place behind them. `now`: our clock, UTC. Raises Fenced,
    Corrupt, Refused, Unavailable."""
    # 2. FOLD. In memory: what is not the next of this chain is refused before anything is written.
    items = [JournalItem(at.offset, it.seq, it.body, it.entry_hash) for at, it in journal_items(records)]
    kept = store.kept(before.shard, before.seq, 2 * len(items))
    folded = fold(before, items, (now - EPOCH) // MICROSECOND, kept)
    # 3. COMMIT. A crash before: nothing happened, and the batch is read again; after: done.
    store.write(before, folded)
    return folded.reach


class Projector:
    """A service (consumers.service.Service). The clock gives UTC times, `monotonic` seconds."""

    name = "projector"

    def __init__(
        self,
        store: ProjectionPort,
        open_source: OpenSource,
        *,
        batch_records_max: int,
        clock: Callable[[], dt.datetime],
        metrics: Metrics,
        silent_until: SilentUntil = lambda _reach: None,
        beside: Sequence[Beside] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._batch_records_max = batch_records_max
        self._clock = clock
        self._metrics = metrics
        self._silent_until = silent_until
        self._beside = beside
        self._monotonic = monotonic
        self._shards: dict[int, _Shard] = {}
        self._source = open_source(self._start_offset, self._revoked)

    def step(self) -> bool:
        """Read once and write what came; close what is silent; give others their turn. Raises Unavailable, Refused."""
        worked = False
        # 1. READ. Nothing changes: a crash, or the next owner, reads again from the cursor.
        for partition, records in self._poll():
            shard = self._shards.get(partition)
            if shard is not None and shard.stands_until is None:
                self._take(shard, records)
                worked = True
        for partition in sorted(self._source.owned & self._shards.keys()):
            shard = self._shards[partition]
            waiting = self._source.waiting(partition, shard.reach.next_offset)
            self._metrics.lag(partition, waiting or 0, 0.0)
            self._metrics.projection(
                partition, shard.reach.known_us / US_PER_SECOND, stands=shard.stands_until is not None
            )
            self._read_again(shard)
            if waiting == 0:
                self._close_silent(shard)
        for follower in self._beside:
            worked = follower.step() or worked
        return worked

    def close(self) -> None:
        try:
            for follower in self._beside:
                follower.close()
            self._source.close()
        finally:
            self._store.close()

    def _start_offset(self, partition: int) -> int:
        reach = self._store.reach(partition)
        self._shards[partition] = _Shard(reach, self._monotonic())
        return reach.next_offset

    def _revoked(self, partition: int) -> None:
        self._shards.pop(partition, None)
        self._metrics.released(partition)

    def _poll(self) -> list[tuple[int, list[Record]]]:
        try:
            return self._source.poll(self._batch_records_max, LINGER_SECONDS)
        except Unreadable as error:
            shard = self._shards.get(error.partition)
            if shard is not None:
                self._stand(shard, error.message, error.remedy)
            return []

    def _take(self, shard: _Shard, records: Sequence[Record]) -> None:
        before = shard.reach
        shard.heard_at = self._monotonic()
        try:
            shard.reach, wrong = take_sound_part(self._commit, before, records)
        except Fenced:
            # Another projector has the shard, or had it: go on from what Postgres says.
            self._source.seek(before.shard, self._start_offset(before.shard))
            return
        self._metrics.projected(before.shard, shard.reach.seq - before.seq)
        if wrong is None:
            self._source.note_done(before.shard, shard.reach.next_offset)
        else:
            self._stand(shard, *explained(wrong, REMEDY))

    def _commit(self, before: ShardReach, records: Sequence[Record]) -> ShardReach:
        return take_journal(self._store, before, records, self._clock())

    def _stand(self, shard: _Shard, message: str, remedy: str) -> None:
        """Leave a shard where it is, until its journal is read again; the others go on."""
        log.error("projector.stands", shard=shard.reach.shard, message=message, remedy=remedy)
        self._source.pause(shard.reach.shard)
        shard.stands_until = self._monotonic() + RETRY_SECONDS

    def _read_again(self, shard: _Shard) -> None:
        if shard.stands_until is not None and self._monotonic() >= shard.stands_until:
            number = shard.reach.shard
            self._source.seek(number, self._start_offset(number))
            self._source.resume(number)

    def _close_silent(self, shard: _Shard) -> None:
        now = self._monotonic()
        if now - shard.heard_at < IDLE_SECONDS:
            return
        shard.heard_at = now
        until = self._silent_until(shard.reach)
        closed = None if until is None else close_at(shard.reach.seq, shard.reach.known_us, until)
        if closed is None:
            return
        try:
            # 4. CLOSE. A crash before: it is closed later; after: whatever comes is known behind that time.
            shard.reach = self._store.close_shard(shard.reach, closed)
        except Fenced:
            self._source.seek(shard.reach.shard, self._start_offset(shard.reach.shard))
