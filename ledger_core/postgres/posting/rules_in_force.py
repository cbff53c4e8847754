"""Which posting rules are in force where, as the verdicts on record say.

Guarantees: one read each, by key; the verdict of a control record is what counts, never a registry of today.
Does not: judge a control record (`ledger_core.posting.activation`), or move a head.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from ledger_core.books.rule_versions import FIRST_RULES
from ledger_core.postgres.session import Session
from ledger_core.posting.verdicts import activated_rules, activation_reason

REASON: Final = """
SELECT s.next_offset, (SELECT reason FROM verdicts v WHERE v.shard = s.shard AND v.source_offset = %(offset)s)
  FROM shards s WHERE s.shard = %(shard)s"""
IN_FORCE: Final = "SELECT shard, rules FROM shards ORDER BY shard"
# By the index of rejections: a shard has as many as its rules have changed.
ACTIVATIONS: Final = """
SELECT source_offset, reason FROM verdicts
 WHERE verdict = 'rejected' AND reason = ANY (%s) AND shard = %s ORDER BY source_offset"""

# A poster that rejected it says why: by the index of rejections, of which there are few by this reason.
REJECTED: Final = """
SELECT detail FROM verdicts
 WHERE verdict = 'rejected' AND reason = 'bad_rules' AND shard = %s AND content_hash = %s
 ORDER BY source_offset DESC LIMIT 1"""


def activated(connection: Session, shard: int, offset: int) -> bool | None:
    """Whether the record there put other rules in force; None where the shard has not come so far."""
    row = connection.execute(REASON, {"shard": shard, "offset": offset}).fetchone()
    if row is None or offset >= row[0]:
        return None
    return row[1] is not None and activated_rules(row[1]) is not None


def rules_in_force(connection: psycopg.Connection[Any]) -> dict[int, int]:
    """Of each shard the rules at its head."""
    return {int(shard): int(rules) for shard, rules in connection.execute(IN_FORCE)}


def activations(connection: Session, shard: int) -> list[tuple[int, int]]:
    """(offset of the control record, rules in force behind it), in order."""
    row = connection.execute("SELECT rules FROM shards WHERE shard = %s", (shard,)).fetchone()
    newest = FIRST_RULES if row is None else int(row[0])
    if newest == FIRST_RULES:
        return []
    reasons = [activation_reason(number) for number in range(FIRST_RULES + 1, newest + 1)]
    return [
        (int(offset), activated_rules(reason) or FIRST_RULES)
        for offset, reason in connection.execute(ACTIVATIONS, (reasons, shard))
    ]


def rejection_of(connection: Session, shard: int, digest: bytes) -> str | None:
    """Why the control record with this SHA-256 of its value was rejected; None when it was not, or not yet."""
    row = connection.execute(REJECTED, (shard, digest)).fetchone()
    return None if row is None else str(row[0])
