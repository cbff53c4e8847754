"""What a rebuilt ledger lacks because the archive leaves it out, and putting it back once it was found elsewhere.

Guarantees: only inserts, and only what is missing: twice is the same as once. Needs the owner.
Does not: judge what is put in: `consumers.recovery.topic_fill` compares it with what was proved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import psycopg

from ledger_core.ports import Record
from ledger_core.postgres.posting.plan_writer import headers_to_json
from ledger_core.postgres.session import translated

MISSING_ORIGINALS: Final = """
SELECT source_offset, content_hash FROM verdicts v
 WHERE shard = %s AND source_offset > %s AND verdict = 'rejected' AND reason NOT IN ('no_record', 'unreadable')
   AND reason !~ '^rules_[0-9]+$'
   AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.shard = v.shard AND d.source_offset = v.source_offset)
 ORDER BY source_offset LIMIT %s"""

BODIES_BYTES_MAX: Final = 8 * 1024 * 1024  # of one answer; the first body may weigh more
MISSING_PII: Final = f"""
SELECT source_offset, seq, body FROM (
    SELECT source_offset, seq, body, sum(octet_length(body)) OVER (ORDER BY seq) - octet_length(body) AS before FROM (
        SELECT source_offset, seq, body FROM entries e
         WHERE shard = %s AND seq > %s AND position('"pii_digest":'::bytea IN body) > 0
           AND NOT EXISTS (SELECT FROM pii p WHERE p.shard = e.shard AND p.seq = e.seq)
         ORDER BY seq LIMIT %s) missing) sized
 WHERE before < {BODIES_BYTES_MAX} ORDER BY seq"""


class MissingOriginal(NamedTuple):
    """A rejected record that is not held. `content_hash` as it was proved."""

    offset: int  # settlements offset of the dead letter
    content_hash: bytes | None


class MissingPii(NamedTuple):
    """An entry whose personal data is not held; its body has the digest."""

    offset: int  # settlements offset of the record
    seq: int  # of the entry, from 1
    body: bytes  # canonical JSON of the entry; its pii_digest decides


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
    def missing_pii(self, shard: int, after_seq: int, limit: int) -> list[MissingPii]:
        """In order of sequence."""
        rows = self._connection.execute(MISSING_PII, (shard, after_seq, limit), binary=True)
        return [MissingPii(*row) for row in rows]

    @translated()
    def add_originals(self, shard: int, records: Sequence[Record]) -> None:
        """Put back the originals of rejected records."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO dead_letters (shard, source_offset, topic, timestamp_ms, key, value, headers) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [(shard, r.offset, r.topic, r.timestamp_ms, r.key, r.value, headers_to_json(r)) for r in records],
            )

    @translated()
    def add_pii(self, shard: int, rows: Sequence[tuple[int, bytes, bytes]]) -> None:
        """Put back personal data: (seq, canonical pii, salt)."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO pii (shard, seq, pii, salt) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [(shard, *row) for row in rows],
            )
