"""A range of the audit chain as an archive object: name, bytes, lock and intent are functions of its events. Pure.

The object is gzipped JSONL: one line for each published audit event, exactly the value on the audit topic, ended by LF;
no first line of its own, so that `zcat` gives what `finance audit verify --from file` reads. It proves itself: each
event is signed, and the chain leads from one object to the next.

Guarantees: the same events give the same bytes (gzip as in audit batches). Does not: store anything.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ledger_core.audit_batch import LinesWriter, SealedBatch
from ledger_core.audit_chain import AuditEvent
from ledger_core.ports import AuditIntent, StoredObject
from ledger_core.times import format_time

EXPORTED_CHAIN: Final = "audit"  # in the payload of `audit_export.completed`: this export is of the chain itself


@dataclass(frozen=True, slots=True)
class ExportRange:
    """Events first_seq..last_seq, written down to be exported as number `export_no`."""

    export_no: int
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class AuditExport:
    """One row of `audit_exports`. Sizes in bytes; `sha256` of the uncompressed lines, `stored_sha256` of the gzip."""

    export_no: int
    head_hash: str
    object_key: str
    version_id: str
    sha256: str
    size_bytes: int
    stored_sha256: str
    stored_size_bytes: int
    mode: Literal["COMPLIANCE", "GOVERNANCE"]
    retain_until: dt.datetime


def export_folder(env: str) -> str:
    """Where the exports of an environment stand."""
    return f"{env}/audit/"


def export_key(env: str, first_seq: int, last_seq: int) -> str:
    """The object name of a range: zero padded, so that names sort in order of the chain."""
    return f"{export_folder(env)}seqs-{first_seq:019d}-{last_seq:019d}.jsonl.gz"


def seal_export(events: Sequence[AuditEvent]) -> SealedBatch:
    """The object's bytes."""
    writer = LinesWriter()
    writer.add_lines([event.to_json() for event in events])
    return writer.finish()


def export_metadata(env: str, events: Sequence[AuditEvent], sha256: str) -> dict[str, str]:
    """Flat ASCII texts for S3, so that an auditor sees what an object holds without fetching it."""
    texts = {
        "service": "finance",
        "env": env,
        "chain": EXPORTED_CHAIN,
        "first-seq": str(events[0].seq),
        "last-seq": str(events[-1].seq),
        "head-hash": events[-1].hash,
        "count": str(len(events)),
        "sha256": sha256,
    }
    prev_hash = events[0].prev_hash
    return texts if prev_hash is None else {**texts, "prev-hash": prev_hash}


def export_retain_until(newest: AuditEvent, retention_days: int) -> dt.datetime:
    """The end of the lock: whole seconds, counted from the newest event, so that every retry agrees."""
    moment = newest.created_at.astimezone(dt.UTC) + dt.timedelta(days=retention_days)
    return moment.replace(microsecond=0) + dt.timedelta(seconds=1 if moment.microsecond else 0)


def audit_export_of(
    export_range: ExportRange, head_hash: str, sealed: SealedBatch, stored: StoredObject
) -> AuditExport:
    """The row that pins the stored object. Raises ValueError when the store locks nothing."""
    if stored.mode is None or stored.retain_until is None:
        raise ValueError("the archive store locks nothing")
    return AuditExport(
        export_no=export_range.export_no,
        head_hash=head_hash,
        object_key=stored.key,
        version_id=stored.version_id,
        sha256=sealed.sha256,
        size_bytes=sealed.size_bytes,
        stored_sha256=stored.sha256,
        stored_size_bytes=stored.size_bytes,
        mode=stored.mode,
        retain_until=stored.retain_until,
    )


def audit_exported_intent(export_range: ExportRange, export: AuditExport, actor_id: str, trace_id: str) -> AuditIntent:
    """`audit_export.completed` of the chain itself. It carries `chain`, by which no range is closed for its sake alone:
    else the export of an export's event would go on for ever."""
    return AuditIntent(
        "audit_export.completed",
        actor_id,
        {
            "chain": EXPORTED_CHAIN,
            "export_no": str(export_range.export_no),
            "first_seq": str(export_range.first_seq),
            "last_seq": str(export_range.last_seq),
            "head_hash": export.head_hash,
            "object_key": export.object_key,
            "version_id": export.version_id,
            "sha256": export.sha256,
            "size_bytes": str(export.size_bytes),
            "stored_sha256": export.stored_sha256,
            "mode": export.mode,
            "retain_until": format_time(export.retain_until),
        },
        trace_id,
    )
