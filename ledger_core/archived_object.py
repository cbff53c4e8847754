"""The archive's rows: a proved range that waits for its object, an object that waits for its manifest. Pure.

Guarantees: the manifest of an object is a function of what was written down before (its row, its proof, the manifest
before it) and the signing key alone, so that a retry with the same key makes the same bytes.
Does not: store or sign anything.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from ledger_core.manifest import MANIFEST_VERSION, ManifestObject, ManifestPayload, ObjectRange
from ledger_core.ports import Algorithm, AuditIntent
from ledger_core.range_proof import SERVICE, RangeProof
from ledger_core.times import format_time, parse_time


@dataclass(frozen=True, slots=True)
class ProvedRange:
    """A signed range without an object. `journal_offset`: the journal's first record after it."""

    shard: int
    range_no: int
    proof: bytes
    journal_offset: int


@dataclass(frozen=True, slots=True)
class ArchivedObject:
    """One row of `archive_objects`. Sizes in bytes; `sha256` of the uncompressed lines, `stored_sha256` of the gzip."""

    shard: int
    range_no: int
    object_key: str
    version_id: str
    sha256: str
    size_bytes: int
    stored_sha256: str
    stored_size_bytes: int
    mode: Literal["COMPLIANCE", "GOVERNANCE"]
    retain_until: dt.datetime
    journal_offset: int


@dataclass(frozen=True, slots=True)
class ListingTerms:
    """An object without a manifest, and what its manifest takes from the record: nothing is asked of the clock.

    `checkpoint` is the signed note of the tree at the end of the object's range.
    """

    archived: ArchivedObject
    stored_at: dt.datetime
    proof: bytes
    checkpoint: bytes
    prev_manifest_hash: str | None


def retain_until_of(proof: RangeProof, retention_days: int) -> dt.datetime:
    """The end of the lock: whole seconds (S3 keeps no more), counted from the proof, so that every retry agrees."""
    moment = parse_time(proof.ts) + dt.timedelta(days=retention_days)
    return moment.replace(microsecond=0) + dt.timedelta(seconds=1 if moment.microsecond else 0)


def exported_intent(archived: ArchivedObject, proof: RangeProof, actor_id: str) -> AuditIntent:
    """`audit_export.completed`: the batch of a range is stored under lock and read back."""
    return AuditIntent(
        "audit_export.completed",
        actor_id,
        {
            "shard": archived.shard,
            "range_no": str(archived.range_no),
            "proof_id": proof.proof_id,
            "proof_hash": proof.hash,
            "object_key": archived.object_key,
            "version_id": archived.version_id,
            "sha256": archived.sha256,
            "size_bytes": str(archived.size_bytes),
            "stored_sha256": archived.stored_sha256,
            "mode": archived.mode,
            "retain_until": format_time(archived.retain_until),
        },
        proof.trace_id,
    )


def manifest_payload(terms: ListingTerms, proof: RangeProof, signer_kid: str, alg: Algorithm) -> ManifestPayload:
    """The manifest that lists one object, to be signed."""
    archived = terms.archived
    (part,) = proof.shards
    return ManifestPayload(
        version=MANIFEST_VERSION,
        service=SERVICE,
        env=proof.env,
        shard=archived.shard,
        manifest_no=str(archived.range_no),
        object=ManifestObject(
            key=archived.object_key,
            version_id=archived.version_id,
            size_bytes=str(archived.size_bytes),
            sha256=archived.sha256,
            stored_size_bytes=str(archived.stored_size_bytes),
            stored_sha256=archived.stored_sha256,
            mode=archived.mode,
            retain_until=format_time(archived.retain_until),
            range=ObjectRange(
                first_seq=part.first_seq,
                last_seq=part.last_seq,
                first_offset=part.source.first_offset,
                next_offset=part.source.next_offset,
                proof_id=proof.proof_id,
                proof_hash=proof.hash,
            ),
        ),
        checkpoint=terms.checkpoint.decode(),
        prev_manifest_hash=terms.prev_manifest_hash,
        signer_kid=signer_kid,
        alg=alg,
        ts=format_time(terms.stored_at),
    )
