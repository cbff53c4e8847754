"""A range of the audit chain as an archive object: name, bytes, lock and intent are functions of its events. Pure.

The object is gzipped JSONL: one line for each published audit event, exactly the value on the audit topic, ended by LF;
no first line of its own, so that `zcat` gives what `finance audit verify --from file` reads. It proves itself: each
event is signed, and the chain leads from one object to the next.

Guarantees: the same events give the same bytes (gzip as in audit batches). Does not: store anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ledger_core.archive.batch import LinesWriter, SealedBatch
from ledger_core.archive.pinned_object import PinnedObject
from ledger_core.audit.events import AuditEvent
from ledger_core.ports import AuditIntent

EXPORTED_CHAIN: Final = "audit"  # in the payload of `audit_export.completed`: this export is of the chain itself


@dataclass(frozen=True, slots=True)
class ExportRange:
    """Events first_seq..last_seq, written down to be exported as number `export_no`."""

    export_no: int
    first_seq: int  # inclusive
    last_seq: int  # inclusive


@dataclass(frozen=True, slots=True)
class AuditExport:
    """One row of `audit_exports`: a range, the hash of its newest event, and its object."""

    export_no: int  # exports count from 1, without a gap
    head_hash: str  # hex; of the newest event in it
    pinned: PinnedObject  # the object, as the store confirmed it


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
            **export.pinned.told(),
        },
        trace_id,
    )
