"""What a replay asks of the verdicts on record, its target's and the live ledger's.

Guarantees: each answer is of committed rows, read and not judged. Raises Unavailable and Refused.
"""

from __future__ import annotations

from typing import Final

from ledger_core.books.entries import decode_entry
from ledger_core.postgres.session import Session, translated

OF_ANOTHER_SHARD: Final = """
SELECT (SELECT count(*) FROM verdicts v JOIN entries e ON e.event_id = v.event_id AND e.shard <> v.shard)
     + (SELECT count(*) FROM verdicts v JOIN verdicts f
          ON f.event_id = v.event_id AND f.first_verdict AND f.shard <> v.shard)"""

UNFOUNDED: Final = """
SELECT v.shard, v.source_offset, v.event_id::text FROM verdicts v
 WHERE v.event_id IS NOT NULL AND NOT v.first_verdict
   AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.event_id = v.event_id)
   AND NOT EXISTS (SELECT 1 FROM verdicts f WHERE f.event_id = v.event_id AND f.first_verdict)
 ORDER BY 1, 2 LIMIT 10"""

NEWEST_SOURCE: Final = """
SELECT source_offset, (extract(epoch FROM recorded_at) * 1000)::bigint, body FROM entries
 WHERE shard = %s ORDER BY seq DESC LIMIT 1"""


@translated()
def newest_source(connection: Session, shard: int) -> tuple[int, int, int] | None:
    """Offset and append time (ms) of the record of a shard's newest entry, and the posting rules that the entry names;
    None while it has none."""
    row = connection.execute(NEWEST_SOURCE, (shard,)).fetchone()
    return None if row is None else (row[0], row[1], decode_entry(row[2]).rules)


@translated()
def of_another_shard(connection: Session) -> int:
    """How many verdicts depend on another shard: their event id was taken there first."""
    row = connection.execute(OF_ANOTHER_SHARD).fetchone()
    return 0 if row is None else int(row[0])


@translated()
def unfounded(connection: Session) -> list[tuple[int, int, str]]:
    """(shard, offset, event id) of repeats and conflicts of an event id that has no first verdict anywhere: a log that
    was believed there, and is not borne out by the other shards. At most ten."""
    return [(row[0], row[1], row[2]) for row in connection.execute(UNFOUNDED)]
