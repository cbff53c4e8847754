"""Exporting the audit chain to the archive: ranges of published events become locked objects.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. CLOSE, INSERT audit_export_ranges   a commit point: the range is fixed, not stored
  2. CHECK its events by the oracle      nothing changes
  3. PUT under lock, read back           a crash leaves an object that the next try finds equal
  4. RECORD it, INSERT audit_exports     the commit point: exported

Guarantees: what leaves is what was published, checked by the oracle from the range before on; names and bytes are
functions of the events, so that two exporters at once, or one after a crash, store one object. A database that was put
back closes a range where the archive has one that begins there: no two exports overlap.
Does not: close a range for the sake of its own events (they leave with the next others), or publish anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from consumers.archive.lock_terms import LockTerms
from consumers.archive.stored_batch import as_stored
from consumers.metrics import Metrics
from ledger_core.archive.names import export_key, exports_from, last_seq_of
from ledger_core.archive.pinned_object import pin_object
from ledger_core.audit.events import AuditEvent
from ledger_core.audit.export import (
    AuditExport,
    ExportRange,
    audit_exported_intent,
    export_metadata,
    seal_export,
)
from ledger_core.errors import Corrupt, Refused
from ledger_core.findings import Collector
from ledger_core.ports import ArchiveStore, AuditIntent
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.audit import REGISTRY_CODES, AuditCheck

REGISTRY_REMEDY: Final = (
    "put that key into signers.json, and end it (retiredAt, validity) behind the last event it signed; if nobody knows "
    "that key: `finance halt`, and find out who wrote that event"
)

log = structlog.get_logger("archiver")


class ExportStore(Protocol):
    """See `ledger_core.postgres.audit.export_store`. Every method may raise Unavailable("postgres")."""

    def open_range(self) -> ExportRange | None: ...

    def due(self, events_max: int, idle_seconds: float) -> ExportRange | None: ...

    def close_range(self, due: ExportRange) -> ExportRange | None: ...

    def events(self, first_seq: int, last_seq: int) -> list[AuditEvent]: ...

    def record(self, export: AuditExport, intent: AuditIntent) -> bool: ...


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What never changes while an exporter runs. `idle_seconds` 0: whatever is published is exported now."""

    env: str  # environment, such as prod
    events_max: int  # in one object; a full one is exported at once
    idle_seconds: float
    look_seconds: float = 1.0  # between two checks for new events
    actor_id: str = "service:archiver"  # who exported, in audit events


class AuditExporter:
    """Steps along with the archiver, which has the archive's credentials. `monotonic` gives seconds."""

    def __init__(
        self,
        store: ExportStore,
        archive: ArchiveStore,
        registry: SignerRegistry,
        settings: ExportSettings,
        locks: LockTerms,
        *,
        monotonic: Callable[[], float],
        new_trace_id: Callable[[], str],
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._archive = archive
        self._registry = registry
        self._settings = settings
        self._locks = locks
        self._monotonic = monotonic
        self._new_trace_id = new_trace_id
        self._metrics = metrics
        self._look_at = float("-inf")

    def step(self) -> bool:
        """Export one range if there is one; False when it is not time. Raises Unavailable, Refused, Corrupt."""
        now = self._monotonic()
        if now < self._look_at:
            return False
        # What was closed and not yet exported comes first, and is exported as that very range.
        found = self._store.open_range() or self._close_next()
        if found is None:
            self._look_at = now + self._settings.look_seconds
            return False
        self._export(found)
        return True

    def _close_next(self) -> ExportRange | None:
        """The next range, closed now; None while it is not time. What a database that was put back had exported stands
        in the archive, and is closed again at the same cut: once all of it is published here, too."""
        due = self._store.due(self._settings.events_max, self._settings.idle_seconds)
        if due is None:
            return None
        for stored in self._archive.versions(exports_from(self._settings.env, due.first_seq)):
            last_seq = last_seq_of(stored.key)
            if stored.size_bytes >= 0 and last_seq is not None:
                due = replace(due, last_seq=last_seq)
                log.warning("audit.adopting", first_seq=due.first_seq, last_seq=last_seq, object_key=stored.key)
                break
        # 1. CLOSE. A crash before the COMMIT: nothing happened; after: the range is fixed.
        return self._store.close_range(due)

    def _export(self, found: ExportRange) -> None:
        settings = self._settings
        # 2. CHECK. What does not verify never leaves; nothing changes.
        events = self._checked(found)
        key = export_key(settings.env, found.first_seq, found.last_seq)
        sealed = seal_export(events)
        until = self._locks.end(key, events[-1].created_at)
        metadata = export_metadata(settings.env, events, sealed.sha256)
        # 3. PUT. A crash before leaves nothing; after it, an equal object that the next try takes for its own.
        try:
            stored = self._archive.put(key, sealed.data, retain_until=until, metadata=metadata)
        except Corrupt:
            # After a crash alone: the same lines stand there, in the gzip bytes of another zlib (stored_batch).
            left = as_stored(self._archive, key, sealed)
            if left is None:
                raise
            sealed = left
            stored = self._archive.put(key, sealed.data, retain_until=until, metadata=metadata)
        export = AuditExport(found.export_no, events[-1].hash, pin_object(sealed, stored))
        intent = audit_exported_intent(found, export, settings.actor_id, self._new_trace_id())
        # 4. RECORD. A crash before the COMMIT stores the object again and finds it; after it, the range is exported.
        if self._store.record(export, intent):
            self._metrics.exported()
            log.info("audit.exported", first_seq=found.first_seq, last_seq=found.last_seq, object_key=key)

    def _checked(self, found: ExportRange) -> list[AuditEvent]:
        """The events of the range, sound from the event before it on."""
        first = max(1, found.first_seq - 1)
        events = self._store.events(first, found.last_seq)
        collector = Collector()
        check = AuditCheck(self._registry, collector)
        if first < found.first_seq and events:
            check.stand_behind(events.pop(0))
        for event in events:
            check.take(event)
        check.finish()
        for finding in collector.report().findings:
            message = f"the audit chain cannot be exported: {finding}"
            if finding.code in REGISTRY_CODES:
                raise Refused(message, remedy=REGISTRY_REMEDY)  # no reason to halt posting
            raise Corrupt(message)
        if check.seq != found.last_seq:
            raise Corrupt(f"the audit chain ends at seq {check.seq}, and {found.last_seq} is published")
        return events
