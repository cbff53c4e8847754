"""What is announced on the audit chain about ranges and proofs. Pure.

Guarantees: flat, canonical-safe payloads that name the range by sequences, offsets and hash, so that an auditor can go
from an audit event to the proof and back; every number that grows is a decimal text.
Does not: write anything; stores put an intent into the transaction of the change it speaks of.
"""

from __future__ import annotations

from ledger_core.ports import AuditIntent
from ledger_core.proving.announced_range import AnnouncedRange
from ledger_core.proving.closed_range import ClosedRange
from ledger_core.proving.range_proof import ProofPayload


def posted_intent(closed: ClosedRange, payload: ProofPayload, actor_id: str) -> AuditIntent:
    """`journal.posted`: a range is closed, with what became of each of its offsets, and all it takes to close it again
    in a database that lost it."""
    return AuditIntent("journal.posted", actor_id, AnnouncedRange.of(closed, payload).told(), payload.trace_id)


def adopted_intent(announced: AnnouncedRange, actor_id: str) -> AuditIntent:
    """`journal.adopted`: a database that had lost an announced range holds it again, by the same bytes."""
    return AuditIntent(
        "journal.adopted",
        actor_id,
        {"shard": announced.shard, "range_no": announced.range_no, "proof_hash": announced.proof_hash},
        announced.trace_id,
    )


def proof_intent(payload: ProofPayload, actor_id: str, mac_waiver: str | None = None) -> AuditIntent:
    """`proof.published`: the proof of one range or of an operator's demand is signed and on record. `mac_waiver`: it
    carries a MAC alone, by whose decision, and why (`name: reason`)."""
    waived = {} if mac_waiver is None else {"mac_waiver": mac_waiver}
    return AuditIntent(
        "proof.published",
        actor_id,
        {
            **waived,
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
