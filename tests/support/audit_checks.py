"""The judge of every notary test: one gapless chain, each intent on it once, the same on the topic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ledger_core.postgres.verify.ledger_reader import open_ledger_reader
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.audit import check_audit
from tests.support import audit


def assert_chain(
    database_url: str, registry: SignerRegistry, numbers: list[int] | range, outbox: int = 0
) -> list[dict[str, Any]]:
    """The oracle finds nothing, the chain holds exactly the intents of these numbers, once each, and nothing waits."""
    with open_ledger_reader(database_url) as reader:
        report = check_audit(reader.audit_events(), registry)
    assert report.sound, report.findings
    assert report.counts["signatures"] == len(numbers)
    rows = audit.rows_newest_first(database_url)[::-1]
    assert sorted(int(row["payload"]["source_offset"]) for row in rows) == sorted(numbers)
    assert audit.outbox_size(database_url) == outbox
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
