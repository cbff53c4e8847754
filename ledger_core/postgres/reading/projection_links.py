"""Links from entries to their proofs and objects, in a projection: written by the projector, found by sequence.

Guarantees: what events say and the cursor behind them are one transaction, and a cursor that another projector moved
raises Fenced. What was announced of a range first stands; said again it changes nothing. Does not: judge it
(`ledger_core.reading.links`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import psycopg

from ledger_core.postgres.reading.projection_places import Projection, hold, standing
from ledger_core.posting.store_port import Fenced
from ledger_core.reading.links import Links

CURSOR: Final = "SELECT next_offset FROM announced WHERE partition = %s"
FIRST: Final = "INSERT INTO announced VALUES (%s, 0) ON CONFLICT DO NOTHING"
MOVE: Final = "UPDATE announced SET next_offset = %s WHERE partition = %s AND next_offset = %s"
INSERTS: Final = {
    "closings": "INSERT INTO closings "
    "SELECT * FROM unnest(%s::int4[], %s::int8[], %s::int8[], %s::int8[], %s::bytea[]) ON CONFLICT DO NOTHING",
    "proofs": "INSERT INTO proofs SELECT * FROM unnest(%s::bytea[], %s::text[]) ON CONFLICT DO NOTHING",
    "objects": "INSERT INTO objects SELECT * FROM unnest(%s::int4[], %s::int8[], %s::text[], %s::text[]) "
    "ON CONFLICT DO NOTHING",
}
OF_ENTRY: Final = """
SELECT c.range_no, c.first_seq, c.last_seq, c.proof_hash, p.proof_id, o.object_key, o.version_id
  FROM (SELECT * FROM closings WHERE shard = %s AND last_seq >= %s ORDER BY last_seq, range_no LIMIT 1) AS c
  LEFT JOIN proofs p USING (proof_hash) LEFT JOIN objects o USING (shard, range_no)
 WHERE c.first_seq <= %s"""


class LinkOfEntry(NamedTuple):
    """The closed range that has an entry, and where what proves it is."""

    range_no: int  # of the shard; its manifest has the same number
    first_seq: int  # inclusive
    last_seq: int  # inclusive
    proof_hash: bytes  # of the unsigned proof, 32 bytes
    proof_id: str | None  # None while the proof is not published
    object_key: str | None  # None while the range is not in the archive
    version_id: str | None  # as object_key


class LinkStore:
    """On a connection in autocommit mode that entered the projection. Every method may raise Unavailable("postgres")
    and Refused; `write` raises TakenOver once another projection was switched to."""

    def __init__(self, connection: psycopg.Connection[Any], projection: Projection) -> None:
        self._connection = connection
        self._projection = projection

    @standing()
    def next_offset(self, partition: int) -> int:
        """How far the audit topic was read."""
        row = self._connection.execute(CURSOR, (partition,)).fetchone()
        return 0 if row is None else int(row[0])

    @standing()
    def write(self, partition: int, before: int, after: int, links: Links) -> None:
        """Add what events say and move the cursor from `before`. Raises Fenced."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            hold(cursor, self._projection)
            cursor.execute(FIRST, (partition,))
            cursor.execute(MOVE, (after, partition, before))
            if cursor.rowcount != 1:
                raise Fenced("another projector reads the audit topic")
            rows: dict[str, Sequence[tuple[object, ...]]] = {
                "closings": links.closings,
                "proofs": links.proofs,
                "objects": links.objects,
            }
            for table, found in rows.items():
                if found:
                    cursor.execute(INSERTS[table].encode(), tuple(list(column) for column in zip(*found, strict=True)))


def link_of(connection: psycopg.Connection[Any], shard: int, seq: int) -> LinkOfEntry | None:
    """Where the proof and the object of an entry are; None while its range is not closed, or not known to be."""
    row = connection.execute(OF_ENTRY, (shard, seq, seq)).fetchone()
    return None if row is None else LinkOfEntry(*row)
