"""The archiver: every proved range becomes one object under Object Lock, and every object gets its signed manifest.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. READ journal records of a shard     nothing changes; a crash reads again from the newest archived range
  2. GATHER the entries of a proved range, its next one, in memory
  3. SEAL the batch                      bytes, name and lock are functions of the range
  4. PUT under lock, read back           a crash leaves an object that the next try finds equal
  5. RECORD it, INSERT archive_objects   the commit point: the range is archived
Then its manifest: consumers.archive.manifest_lister.

Guarantees: names, lock and lines are functions of the range, so that a retry stores the same object or finds it there;
a signer that is away stops manifests and nothing else; a restart goes on from the rows in Postgres.
Does not: prove, delete, or archive what is not proved yet: it waits, holding a bounded number of bytes.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from consumers.archive.leftover import Leftovers
from consumers.archive.lock_terms import LockTerms, Waiting
from consumers.archive.manifest_lister import ListerStore, ManifestLister
from consumers.kafka.journal_records import journal_record
from consumers.kafka.source import OpenSource
from consumers.metrics import Metrics
from consumers.proving.published_guard import NOTHING_PUBLISHED, Guard
from consumers.signing.signer_set import SignerSet
from ledger_core.archive.archived_object import ArchivedObject, ProvedRange, exported_intent
from ledger_core.archive.range_batch import RangeBatch
from ledger_core.errors import Corrupt, Refused
from ledger_core.ports import ArchiveStore, AuditIntent, Record

RECORD_BYTES = 300  # what a waiting record weighs beside its value

log = structlog.get_logger("archiver")


class Exporter(Protocol):
    """`consumers.audit.exporter.AuditExporter`."""

    def step(self) -> bool: ...


class ArchiverStore(ListerStore, Protocol):
    """See `ledger_core.postgres.archive.archiver_store`. Every method may raise Unavailable("postgres")."""

    def cursor(self, shard: int) -> tuple[int, int]: ...

    def proved_range(self, shard: int, range_no: int) -> ProvedRange | None: ...

    def verdict_lines(self, shard: int, first_offset: int, next_offset: int) -> list[bytes]: ...

    def record_object(self, archived: ArchivedObject, intent: AuditIntent) -> bool: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ArchiverSettings:
    """What never changes while an archiver runs."""

    pii_policy_version: str  # stands in every batch: by which policy personal data is left out
    actor_id: str = "service:archiver"  # who archived, in audit events
    poll_records_max: int = 2000  # of the journal, in one poll
    poll_seconds: float = 0.1  # how long one poll waits for the first record
    look_seconds: float = 0.25  # between two checks for a new proof
    batches_max: int = 4  # of one shard in one step
    waiting_bytes_max: int = 64 * 1024 * 1024  # read ahead of the proofs, over all shards
    canary_seconds: float = 3600.0  # between two attacks on the locked canary


@dataclass(slots=True)
class _Shard:
    """What the archiver holds of an owned partition; all of it can be read again from Postgres and the journal."""

    number: int
    range_no: int  # newest archived
    current: tuple[ProvedRange, RangeBatch] | None = None  # the range being assembled
    waiting: deque[Record] = field(default_factory=deque)
    waiting_bytes: int = 0
    paused: bool = False
    look_at: float = 0.0


class Archiver:
    """A `consumers.service.Service`. The clock gives UTC times, `monotonic` seconds."""

    name = "archiver"

    def __init__(
        self,
        store: ArchiverStore,
        archive: ArchiveStore,
        open_source: OpenSource,
        signers: SignerSet,
        settings: ArchiverSettings,
        locks: LockTerms,
        *,
        clock: Callable[[], dt.datetime],
        monotonic: Callable[[], float],
        metrics: Metrics,
        exporter: Exporter | None = None,
        guard: Guard = NOTHING_PUBLISHED,
    ) -> None:
        self._guard = guard
        self._store = store
        self._archive = archive
        self._exporter = exporter  # of the audit chain: it shares the credentials, and nothing else
        self._signers = signers
        self._settings = settings
        self._locks = locks
        self._waiting = Waiting(monotonic)
        self._clock = clock
        self._monotonic = monotonic
        self._metrics = metrics
        self._shards: dict[int, _Shard] = {}
        self._attack_canary()  # G7: before anything is stored there, and again and again
        self._leftovers = Leftovers(archive, signers)
        self._lister = ManifestLister(store, archive, signers, metrics, self._leftovers, self._waiting)
        self._source = open_source(self._start_offset, self._forget)

    def step(self) -> bool:
        """Read once, archive what is proved, list what is archived. Raises Unavailable, Corrupt, Refused."""
        worked = False
        if self._monotonic() >= self._canary_at:
            self._attack_canary()
        for partition in self._guard.due():
            self._read_anew(self._shards[partition])
        # 1. READ. Nothing changes: a crash, or the next owner, reads again from behind the newest archived range.
        for partition, records in self._source.poll(self._settings.poll_records_max, self._settings.poll_seconds):
            if not self._guard.allows(partition):
                continue  # read again once it may
            shard = self._shards[partition]
            shard.waiting.extend(records)
            shard.waiting_bytes += sum(len(record.value or b"") + RECORD_BYTES for record in records)
            worked = True
        for partition in sorted(self._source.owned & self._shards.keys()):
            shard = self._shards[partition]
            worked |= self._guard.allows(partition) and self._archive_shard(shard)
            self._hold_back(shard)
            self._tell_lag(shard)
        worked |= self._lister.step()
        return self._export() or worked

    def _export(self) -> bool:
        """A step of the exporter. What it refuses waits for an operator: ranges are archived all the same."""
        return self._exporter is not None and self._waiting.attempt("audit chain", self._exporter.step)

    def close(self) -> None:
        try:
            self._source.close()
        finally:
            self._signers.close()
            self._store.close()

    def _attack_canary(self) -> None:
        """A store that lets a locked version go is refused: nothing more is archived there, and the process says so."""
        self._archive.check_lock()
        self._canary_at = self._monotonic() + self._settings.canary_seconds

    # --- reading ---------------------------------------------------------------------------------------------------

    def _start_offset(self, partition: int) -> int:
        self._guard.look(partition)
        range_no, journal_offset = self._store.cursor(partition)
        self._shards[partition] = _Shard(partition, range_no)
        self._leftovers.watch_batches(partition)
        (self._lister.watch if self._guard.allows(partition) else self._lister.forget)(partition)
        return journal_offset

    def _read_anew(self, shard: _Shard) -> None:
        """Go on from what Postgres says: another process, or a restore, moved it."""
        offset = self._start_offset(shard.number)
        if shard.number in self._source.owned:
            self._source.seek(shard.number, offset)
            if shard.paused:
                self._source.resume(shard.number)

    def _forget(self, partition: int) -> None:
        self._shards.pop(partition, None)
        self._guard.forget(partition)
        self._metrics.released(partition)
        self._leftovers.forget_batches(partition)
        self._lister.forget(partition)

    def _hold_back(self, shard: _Shard) -> None:
        """Stop reading a shard whose unproved entries fill their part of the memory; go on when they are archived."""
        bytes_max = self._settings.waiting_bytes_max // len(self._shards)
        if not shard.paused and shard.waiting_bytes > bytes_max:
            self._source.pause(shard.number)
            shard.paused = True
        elif shard.paused and shard.waiting_bytes <= bytes_max // 2:
            self._source.resume(shard.number)
            shard.paused = False

    def _tell_lag(self, shard: _Shard) -> None:
        oldest = shard.waiting[0] if shard.waiting else None
        records = 0 if oldest is None else self._source.waiting(shard.number, oldest.offset) or 0
        seconds = 0.0 if oldest is None else max(0.0, self._clock().timestamp() - oldest.timestamp_ms / 1000)
        self._metrics.lag(shard.number, records, seconds)

    # --- archiving -------------------------------------------------------------------------------------------------

    def _archive_shard(self, shard: _Shard) -> bool:
        """Archive what is proved of a shard. What is refused of it waits for an operator; every other shard goes on."""

        def work() -> bool:
            try:
                return self._archive_proved(shard)
            except Refused:
                self._read_anew(shard)  # a batch is sealed once
                raise

        return self._waiting.attempt(f"shard {shard.number}", work)

    def _archive_proved(self, shard: _Shard) -> bool:
        """Archive up to `batches_max` ranges of a shard, as far as they are proved and read."""
        for done in range(self._settings.batches_max):
            shard.current = current = shard.current or self._next_proved(shard)
            if current is None:
                return done > 0
            # 2. GATHER. In memory alone, and only for a range that is proved; a crash forgets it.
            proved, batch = current
            while not batch.complete and shard.waiting:
                record = shard.waiting.popleft()
                shard.waiting_bytes -= len(record.value or b"") + RECORD_BYTES
                item = journal_record(record)
                batch.take(item.seq, item.body, item.entry_hash)
            if not batch.complete:
                return done > 0
            if not self._store_batch(shard, proved, batch):
                return True
        return True

    def _next_proved(self, shard: _Shard) -> tuple[ProvedRange, RangeBatch] | None:
        """The next range and its empty batch; None while it is not proved."""
        now = self._monotonic()
        if now < shard.look_at:
            return None
        proved = self._store.proved_range(shard.number, shard.range_no + 1)
        if proved is None:
            shard.look_at = now + self._settings.look_seconds
            return None
        try:
            return proved, RangeBatch(proved.proof, pii_policy_version=self._settings.pii_policy_version)
        except ValueError as error:
            raise Corrupt(
                f"shard {shard.number}, range {proved.range_no}: its proof is not a range proof: {error}"
            ) from error

    def _store_batch(self, shard: _Shard, proved: ProvedRange, batch: RangeBatch) -> bool:
        """Put one object and write its row. False: another process archived it, and we start anew from there."""
        source = batch.part.source
        silent = source.duplicates != "0" or source.rejected != "0"
        first_offset, next_offset = int(source.first_offset), int(source.next_offset)
        lines = self._store.verdict_lines(shard.number, first_offset, next_offset) if silent else []
        # 3. SEAL. A function of the range: every try makes the same bytes, under the same name and lock.
        sealed, metadata = batch.seal(lines)
        # 4. PUT. A crash before leaves nothing; after it, an equal object that the next try takes for its own, as
        # it does with what another archiver stored meanwhile.
        pinned = self._leftovers.put_batch(proved, batch, sealed, self._locks, metadata)
        archived = ArchivedObject(shard.number, proved.range_no, proved.journal_offset, pinned)
        # 5. RECORD. A crash before the COMMIT stores the object again and finds it; after it, the range is archived.
        intent = exported_intent(archived, batch.proof, self._settings.actor_id)
        if not self._store.record_object(archived, intent):
            log.warning("range.archived_elsewhere", shard=shard.number, range_no=archived.range_no)
            self._read_anew(shard)
            return False
        shard.range_no, shard.current = archived.range_no, None
        self._lister.expect(shard.number)
        self._source.note_done(shard.number, archived.journal_offset)
        log.info(
            "batch.archived",
            shard=shard.number,
            range_no=archived.range_no,
            object_key=pinned.object_key,
            version_id=pinned.version_id,
            sha256=pinned.sha256,
            trace_id=batch.proof.trace_id,
        )
        return True
