"""Where proofs and objects are, out of the audit topic: what was announced by whom it is for, and no more."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from ledger_core.audit.events import AuditEvent
from ledger_core.reading.links import Closing, Links, PublishedProof, RangeObject, links_of

HASH = "ab" * 32
RANGE = {"shard": 1, "range_no": "7", "proof_hash": HASH}
CLOSED = RANGE | {"first_seq": "11", "last_seq": "20"}
PUBLISHED = {"proof_id": "p-7", "proof_hash": HASH, "signer_kid": "k", "num_rows": "10", "shards": []}
STORED = RANGE | {
    "proof_id": "p-7", "object_key": "o", "version_id": "v", "mode": "COMPLIANCE", "sha256": HASH,
    "stored_sha256": HASH, "size_bytes": "9", "retain_until": "2033-01-01T00:00:00.000000Z",
}  # fmt: skip


def event(event_type: str, said: dict[str, Any], actor_id: str = "service:prover") -> AuditEvent:
    return AuditEvent(
        id="0", seq=1, actor_id=actor_id, event_type=event_type, payload=said, prev_hash=None, hash=HASH,
        created_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC), signature="", signer_kid="k",
    )  # fmt: skip


def test_a_range_is_linked_to_its_entries_its_proof_and_its_object() -> None:
    found = links_of(
        [
            event("journal.posted", CLOSED),
            event("proof.published", PUBLISHED),
            event("audit_export.completed", STORED, "service:archiver"),
        ]
    )
    assert found == Links(
        [Closing(1, 7, 11, 20, bytes.fromhex(HASH))],
        [PublishedProof(bytes.fromhex(HASH), "p-7")],
        [RangeObject(1, 7, "o", "v")],
    )


@pytest.mark.parametrize(
    "passed_over",
    [
        event("journal.posted", CLOSED, "operator:eve"),
        event("journal.posted", RANGE),  # of an older version, which does not say which entries
        event("journal.posted", CLOSED | {"range_no": "9" * 30}),  # no such number is a ledger's
        event("journal.posted", CLOSED | {"shard": 2**40}),
        event("journal.posted", CLOSED | {"last_seq": "many"}),
        event("proof.published", PUBLISHED, "service:archiver"),
        event("proof.published", PUBLISHED, "operator:eve"),  # of a range, which the prover publishes
        event("proof.published", PUBLISHED | {"proof_hash": "short"}),
        event("audit_export.completed", STORED, "service:prover"),
        event(
            "audit_export.completed", {name: it for name, it in STORED.items() if name != "shard"}, "service:archiver"
        ),
        event("ledger.halted", {"reason": "r"}, "operator:eve"),
        event("nobody.knows", CLOSED),
    ],
)
def test_what_is_not_announced_of_a_range_by_its_own_actor_links_nothing(passed_over: AuditEvent) -> None:
    assert links_of([passed_over]) == Links()
