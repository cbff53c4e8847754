"""The archive's rows: a proved range that waits for its object, an object that waits for its manifest. Pure.

Guarantees: the manifest of an object is a function of what was written down before (its row, its proof, the manifest
before it) and the signing key alone, so that a retry with the same key makes the same bytes.
Does not: store or sign anything.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ledger_core.archive.manifest import MANIFEST_VERSION, ManifestObject, ManifestPayload, ObjectRange
from ledger_core.archive.pinned_object import PinnedObject
from ledger_core.ports import Algorithm, AuditIntent
from ledger_core.proving.range_proof import SERVICE, RangeProof
from ledger_core.times import format_time


@dataclass(frozen=True, slots=True)
class ProvedRange:
    """A signed range without an object. `journal_offset`: the journal's first record after it."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    range_no: int  # the shard's ranges count from 1, without a gap
    proof: bytes  # canonical bytes of the signed proof
    journal_offset: int


@dataclass(frozen=True, slots=True)
class ArchivedObject:
    """One row of `archive_objects`: a range, its object, and where the journal goes on after it."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    range_no: int  # the shard's ranges count from 1, without a gap
    journal_offset: int  # offset of the journal topic after the range, exclusive
    pinned: PinnedObject  # the object, as the store confirmed it


@dataclass(frozen=True, slots=True)
class ListingTerms:
    """An object without a manifest, and what its manifest takes from the record: nothing is asked of the clock.

    `checkpoint` is the signed note of the tree at the end of the object's range.
    """

    archived: ArchivedObject  # the row that the manifest lists
    stored_at: dt.datetime  # when the object was recorded, UTC; the database's clock
    proof: bytes  # canonical bytes of the signed proof of the range
    checkpoint: bytes
    prev_manifest_hash: str | None  # hex; of the shard's manifest before, None for the first


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
            **archived.pinned.told(),
        },
        proof.trace_id,
    )


def manifest_payload(terms: ListingTerms, proof: RangeProof, signer_kid: str, alg: Algorithm) -> ManifestPayload:
    """The manifest that lists one object, to be signed."""
    archived, pinned = terms.archived, terms.archived.pinned
    (part,) = proof.shards
    return ManifestPayload(
        version=MANIFEST_VERSION,
        service=SERVICE,
        env=proof.env,
        shard=archived.shard,
        manifest_no=str(archived.range_no),
        object=ManifestObject(
            key=pinned.object_key,
            version_id=pinned.version_id,
            size_bytes=str(pinned.size_bytes),
            sha256=pinned.sha256,
            stored_size_bytes=str(pinned.stored_size_bytes),
            stored_sha256=pinned.stored_sha256,
            mode=pinned.mode,
            retain_until=format_time(pinned.retain_until),
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
