"""What a rebuilt ledger lacks: words beside verdicts, originals of dead letters, personal data. No archive has them.

Guarantees: counts only, and only of tables that this role may read: auditors may not read personal data, so they learn
nothing of that. Reads every verdict, and every entry's body where personal data may be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

MAY_READ: Final = (
    "SELECT has_table_privilege('dead_letters', 'SELECT'), has_table_privilege('personal_data', 'SELECT'), "
    "has_table_privilege('entries', 'SELECT')"
)
DETAILS: Final = "SELECT count(*) FROM verdicts WHERE detail = ''"
ORIGINALS: Final = """
SELECT count(*) FROM verdicts v WHERE verdict = 'rejected' AND reason NOT IN ('no_record', 'unreadable')
   AND reason !~ '^rules_[0-9]+$'
   AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.shard = v.shard AND d.source_offset = v.source_offset)"""
PII: Final = """
SELECT count(*) FROM entries e WHERE position('"pii_digest":'::bytea IN body) > 0
   AND NOT EXISTS (SELECT FROM personal_data p WHERE p.event_id = e.event_id AND p.kept)
   AND NOT EXISTS (SELECT FROM personal_erasures p WHERE p.event_id = e.event_id)
   AND NOT EXISTS (SELECT FROM personal_forgotten p WHERE p.event_id = e.event_id)"""

OneRow = Callable[[str], tuple[Any, ...]]
"""A statement -> its one row."""


def count_not_held(one_row: OneRow) -> dict[str, int]:
    """Counts by name, of what may be counted."""
    originals, pii, entries = one_row(MAY_READ)
    counts = {"verdict_details": int(one_row(DETAILS)[0])}
    if originals:
        counts["dead_letter_originals"] = int(one_row(ORIGINALS)[0])
    if pii and entries:
        counts["pii"] = int(one_row(PII)[0])
    return counts
