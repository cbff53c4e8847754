"""What a rebuilt ledger lacks because the archive leaves it out, and putting it back once it was found elsewhere.

Guarantees: only inserts, and only what is missing: twice is the same as once. Needs the owner.
Does not: judge what is put in: `consumers.recovery.topic_fill` compares it with what was proved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import psycopg

from ledger_core.books.personal import without_personal_data
from ledger_core.ports import Record
from ledger_core.postgres.posting.plan_writer import headers_to_json
from ledger_core.postgres.session import translated

MISSING_ORIGINALS: Final = """
SELECT source_offset, content_hash FROM verdicts v
 WHERE shard = %s AND source_offset > %s AND verdict = 'rejected' AND reason NOT IN ('no_record', 'unreadable')
   AND reason !~ '^rules_[0-9]+$'
   AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.shard = v.shard AND d.source_offset = v.source_offset)
 ORDER BY source_offset LIMIT %s"""


class MissingOriginal(NamedTuple):
    """A rejected record that is not held. `content_hash` as it was proved."""

    offset: int  # settlements offset of the dead letter
    content_hash: bytes | None


class FillStore:
    """On a connection in autocommit mode."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @translated()
    def shards(self) -> list[tuple[int, str]]:
        """(shard, its topic) in order."""
        return self._connection.execute("SELECT shard, topic FROM shards ORDER BY shard").fetchall()

    @translated()
    def missing_originals(self, shard: int, after_offset: int, limit: int) -> list[MissingOriginal]:
        """In order of offset."""
        rows = self._connection.execute(MISSING_ORIGINALS, (shard, after_offset, limit))
        return [MissingOriginal(*row) for row in rows]

    @translated()
    def add_originals(self, shard: int, records: Sequence[Record]) -> None:
        """Put back the originals of rejected records."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO dead_letters (shard, source_offset, topic, timestamp_ms, key, value, headers) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [
                    (shard, r.offset, r.topic, r.timestamp_ms, r.key, r.value, headers_to_json(r))
                    for r in map(without_personal_data, records)
                ],
            )
