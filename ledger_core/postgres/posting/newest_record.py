"""The newest record that a shard has read, as the database remembers it.

Guarantees: what the poster's COMMIT wrote along with the cursor; where an entry is newer (of a rebuild, or of a version
before this), the record of that entry, of which offset and append time are known. Reads one row by its key.
Does not: ask Kafka: `consumers.kafka.topic_identity` compares.
"""

from __future__ import annotations

from typing import Any, Final

from ledger_core.postgres.session import Session, translated
from ledger_core.posting.newest_record import NewestRecord

NEWEST_RECORD: Final = """
SELECT s.newest_record_offset, s.newest_record_ms, s.newest_record_sha256, e.source_offset, e.recorded_ms
  FROM shards s
  LEFT JOIN LATERAL (SELECT source_offset, (extract(epoch FROM recorded_at) * 1000)::bigint AS recorded_ms
                       FROM entries WHERE shard = s.shard ORDER BY seq DESC LIMIT 1) e ON true
 WHERE s.shard = %s"""


@translated()
def newest_record(connection: Session, shard: int) -> NewestRecord | None:
    """None while the shard has read nothing that is known. Raises Unavailable, Refused."""
    row: tuple[Any, ...] | None = connection.execute(NEWEST_RECORD, (shard,)).fetchone()
    if row is None:
        return None
    offset, timestamp_ms, digest, entry_offset, entry_ms = row
    if offset is not None and (entry_offset is None or offset >= entry_offset):
        return NewestRecord(offset, timestamp_ms, digest)
    return None if entry_offset is None else NewestRecord(entry_offset, entry_ms, None)
