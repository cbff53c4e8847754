"""What the audit chain is told about ranges and proofs. Pure.

Guarantees: flat, canonical-safe payloads that name the range by sequences, offsets and hash, so that an auditor can go
from an audit event to the proof and back; every number that grows is a decimal text.
Does not: write anything; stores put an intent into the transaction of the change it speaks of.
"""

from __future__ import annotations

from ledger_core.closed_range import ClosedRange
from ledger_core.ports import AuditIntent
from ledger_core.range_proof import ProofPayload


def posted_intent(closed: ClosedRange, payload: ProofPayload, actor_id: str) -> AuditIntent:
    """`journal.posted`: a range is closed, with what became of each of its offsets."""
    part = payload.shards[0]
    return AuditIntent(
        "journal.posted",
        actor_id,
        {
            "shard": closed.shard,
            "range_no": str(closed.range_no),
            "first_seq": part.first_seq,
            "last_seq": part.last_seq,
            "first_offset": part.source.first_offset,
            "next_offset": part.source.next_offset,
            "posted": part.source.posted,
            "duplicates": part.source.duplicates,
            "rejected": part.source.rejected,
            "head_hash": part.head_hash,
            "proof_hash": closed.hash.hex(),
        },
        payload.trace_id,
    )


def proof_intent(payload: ProofPayload, actor_id: str) -> AuditIntent:
    """`proof.published`: the proof of one range or of an operator's demand is signed and on record."""
    return AuditIntent(
        "proof.published",
        actor_id,
        {
            "proof_id": payload.proof_id,
            "proof_hash": payload.digest().hex(),
            "signer_kid": payload.signer_kid,
            "num_rows": payload.num_rows,
            "shards": [
                {
                    "shard": part.shard,
                    "first_seq": part.first_seq,
                    "last_seq": part.last_seq,
                    "tree_size": part.tree_size,
                    "root": part.root,
                }
                for part in payload.shards
            ],
        },
        payload.trace_id,
    )
