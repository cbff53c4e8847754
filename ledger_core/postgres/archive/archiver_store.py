"""What the archiver reads and writes: proved ranges, verdict lines, archived objects and manifests.

Guarantees: an object's row and its audit intent are one transaction; whoever comes second with the same range writes
nothing and learns that. Statements touch one shard each.
Does not: compute or judge anything. Needs the grants of finance_archiver.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import astuple
from typing import Any, Final

import psycopg

from ledger_core.archive.archived_object import ArchivedObject, ListingTerms, ProvedRange
from ledger_core.archive.pinned_object import PINNED_COLUMNS, PinnedObject
from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.proving.prover_store import VERDICT_LINES
from ledger_core.postgres.proving.tile_store import PostgresTileStore
from ledger_core.postgres.session import translated
from ledger_core.proving.tiles import ReadTile, TreeName

OBJECT_COLUMNS: Final = ", ".join(("shard", "range_no", "journal_offset", *PINNED_COLUMNS))
CURSOR: Final = """
SELECT range_no, journal_offset FROM archive_objects WHERE shard = %s ORDER BY range_no DESC LIMIT 1"""

NEXT_PROVED: Final = """
SELECT r.shard, r.range_no, p.proof, r.journal_offset
  FROM ranges r JOIN proofs p ON p.shard = r.shard AND p.range_no = r.range_no
 WHERE r.shard = %s AND r.range_no = %s"""

INSERT_OBJECT: Final = f"""
INSERT INTO archive_objects ({OBJECT_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING"""

# Manifests are numbered as the objects they add, in order: the next one is that after the newest.
UNLISTED: Final = f"""
WITH newest AS (
    SELECT coalesce(max(manifest_no), 0) AS manifest_no FROM manifests WHERE shard = %(shard)s
)
SELECT {", ".join("o." + column for column in OBJECT_COLUMNS.split(", "))}, o.stored_at, p.proof, c.note,
       (SELECT encode(m.hash, 'hex') FROM manifests m
         WHERE m.shard = %(shard)s AND m.manifest_no = newest.manifest_no)
  FROM newest
  JOIN archive_objects o ON o.shard = %(shard)s AND o.range_no = newest.manifest_no + 1
  JOIN proofs p ON p.shard = o.shard AND p.range_no = o.range_no
  JOIN ranges r ON r.shard = o.shard AND r.range_no = o.range_no
  JOIN checkpoints c ON c.shard = o.shard AND c.next_offset = r.next_offset"""

DECIDED: Final = "SELECT decided_at FROM lock_decisions WHERE object_key = %s"

INSERT_MANIFEST: Final = """
INSERT INTO manifests (shard, manifest_no, payload, hash, manifest, object_key, version_id)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""


class PostgresArchiveStore:
    """The archiver's door. `connection` is in autocommit mode; every method raises Unavailable("postgres")."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._tiles = PostgresTileStore(connection)

    @translated()
    def cursor(self, shard: int) -> tuple[int, int]:
        """The newest archived range of a shard and the journal offset after it; (0, 0) before the first."""
        row = self._connection.execute(CURSOR, (shard,)).fetchone()
        return (0, 0) if row is None else (row[0], row[1])

    @translated()
    def proved_range(self, shard: int, range_no: int) -> ProvedRange | None:
        """A range and its proof; None while it is not proved."""
        row = self._connection.execute(NEXT_PROVED, (shard, range_no), binary=True).fetchone()
        return None if row is None else ProvedRange(*row)

    @translated()
    def verdict_lines(self, shard: int, first_offset: int, next_offset: int) -> list[bytes]:
        """The verdict lines of the offsets `[first_offset, next_offset)`, in order."""
        rows = self._connection.execute(VERDICT_LINES, (shard, first_offset, next_offset), binary=True).fetchall()
        return [row[0] for row in rows]

    @translated()
    def record_object(self, archived: ArchivedObject, intent: AuditIntent) -> bool:
        """Write an object's row and its intent down; the COMMIT archives the range. False: it is there already."""
        values = (archived.shard, archived.range_no, archived.journal_offset, *astuple(archived.pinned))
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(INSERT_OBJECT, values)
            if cursor.rowcount == 0:
                return False
            append_intent(cursor, intent)
        return True

    @translated()
    def unlisted(self, shard: int) -> ListingTerms | None:
        """The oldest object of a shard without a manifest."""
        row = self._connection.execute(UNLISTED, {"shard": shard}, binary=True).fetchone()
        if row is None:
            return None
        shard, range_no, journal_offset, *pinned, stored_at, proof, checkpoint, prev_manifest_hash = row
        archived = ArchivedObject(shard, range_no, journal_offset, PinnedObject(*pinned))
        return ListingTerms(archived, stored_at, proof, checkpoint, prev_manifest_hash)

    def leaves_kept(self, shard: int, tree: TreeName) -> int:
        """How many leaves of a tree the prover keeps in tiles."""
        return self._tiles.kept(shard, tree)

    def tiles(self, shard: int, tree: TreeName) -> ReadTile:
        """Reads the tiles of one tree, as `PostgresTileStore.reader`."""
        return self._tiles.reader(shard, tree)

    @translated()
    def record_manifest(
        self, listed: ArchivedObject, payload: bytes, digest: bytes, manifest: bytes, object_key: str, version_id: str
    ) -> bool:
        """Write a manifest's row; the COMMIT lists the object. False: it is there already."""
        values = (listed.shard, listed.range_no, payload, digest, manifest, object_key, version_id)
        return self._connection.execute(INSERT_MANIFEST, values).rowcount == 1

    @translated()
    def decided_at(self, object_key: str) -> dt.datetime | None:
        """When an operator decided that the lock of an object counts from then, UTC; None: nobody did."""
        row = self._connection.execute(DECIDED, (object_key,)).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        self._connection.close()
