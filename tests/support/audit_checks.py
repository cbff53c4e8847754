"""The judge of every notary test: one gapless chain, each intent on it once, the same on the topic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ledger_core.audit_chain import event_hash
from ledger_core.signatures import decode_signature, verify_digest
from ledger_core.signers import SignerRegistry
from tests.support import audit


def assert_chain(database_url: str, registry: SignerRegistry, numbers: list[int] | range) -> list[dict[str, Any]]:
    """The chain holds exactly the intents of these numbers, once each, is gapless and signed, and nothing waits."""
    rows = audit.rows_newest_first(database_url)[::-1]
    assert sorted(int(row["payload"]["number"]) for row in rows) == sorted(numbers)
    previous: dict[str, Any] | None = None
    for seq, row in enumerate(rows, start=1):
        assert row["seq"] == seq
        assert row["prev_hash"] == (previous["hash"] if previous else None)
        assert previous is None or previous["created_at"] < row["created_at"]
        assert row["hash"] == event_hash(row["payload"], row["prev_hash"])
        key = registry.get(row["signer_kid"]).public_key
        verify_digest(key, bytes.fromhex(row["hash"]), decode_signature(row["signature"]))
        previous = row
    assert audit.outbox_size(database_url) == 0
    return rows


def assert_published(environ: Mapping[str, str], rows: list[dict[str, Any]]) -> int:
    """The topic holds every event; a repeat is the same event again, and nothing comes before its predecessor.

    Returns how many records were repeats.
    """
    seen = 0
    records = [json.loads(value) for _, value in audit.read_topic(environ)]
    for record in records:
        seq = int(record["seq"])
        assert seq <= seen + 1, f"seq {seq} came after {seen}: a gap"
        assert {**record, "seq": seq} == rows[seq - 1]
        seen = max(seen, seq)
    assert seen == len(rows)
    return len(records) - seen
