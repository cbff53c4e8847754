"""The trees of shards in tiles, and the newest live checkpoint of each: what the prover keeps, and what receipts read.

Guarantees: tiles, edges and the checkpoint that they belong to are one transaction; what a later prover wrote stands,
and whoever comes second with the same changes nothing. A tile is read in one statement, full or growing, so a reader
beside the prover sees all hashes of a tree that a checkpoint names.
Does not: compute or check a hash. Writing needs the grants of finance_prover.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import errors

from ledger_core.postgres.session import translated
from ledger_core.proving.tiles import TILE_HASHES, Growth, LiveCheckpoint, ReadTile, Tile, TreeName
from ledger_core.tree import HASH_BYTES

INSERT_TILE: Final = """
INSERT INTO tiles (shard, tree, level, tile_no, hashes) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""

GROW_EDGE: Final = """
INSERT INTO tile_edges AS held (shard, tree, level, tile_no, hashes) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (shard, tree, level) DO UPDATE SET tile_no = excluded.tile_no, hashes = excluded.hashes
 WHERE (excluded.tile_no, octet_length(excluded.hashes)) > (held.tile_no, octet_length(held.hashes))"""

KEEP_CHECKPOINT: Final = """
INSERT INTO live_checkpoints AS held (shard, tree_size, verdict_count, next_offset, note)
SELECT %(shard)s, %(size)s, %(verdict_count)s, %(next_offset)s, %(note)s
 WHERE (%(epoch)s::integer IS NULL OR %(epoch)s = (SELECT max(epoch_no) FROM epochs))
   AND EXISTS (SELECT FROM shards s WHERE s.shard = %(shard)s AND s.next_offset >= %(next_offset)s)
ON CONFLICT (shard) DO UPDATE SET tree_size = excluded.tree_size, verdict_count = excluded.verdict_count,
    next_offset = excluded.next_offset, note = excluded.note, signed_at = clock_timestamp()
 WHERE excluded.next_offset > held.next_offset"""

LIVE: Final = "SELECT tree_size, verdict_count, next_offset, note FROM live_checkpoints WHERE shard = %s"

READ_TILE: Final = """
SELECT hashes FROM tiles WHERE shard = %(shard)s AND tree = %(tree)s AND level = %(level)s AND tile_no = %(number)s
UNION ALL
SELECT hashes FROM tile_edges WHERE shard = %(shard)s AND tree = %(tree)s AND level = %(level)s AND tile_no = %(number)s
 LIMIT 1"""

EDGE: Final = "SELECT tile_no, octet_length(hashes) FROM tile_edges WHERE shard = %s AND tree = %s AND level = 0"


class PostgresTileStore:
    """`connection` is in autocommit mode; every method may raise Unavailable("postgres") and Refused."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @translated()
    def live(self, shard: int) -> LiveCheckpoint | None:
        """The newest live checkpoint of a shard."""
        row = self._connection.execute(LIVE, (shard,), binary=True).fetchone()
        return None if row is None else LiveCheckpoint(*row)

    @translated()
    def kept(self, shard: int, tree: TreeName) -> int:
        """How many leaves of a tree are kept in tiles and edges."""
        row = self._connection.execute(EDGE, (shard, tree)).fetchone()
        return 0 if row is None else row[0] * TILE_HASHES + row[1] // HASH_BYTES

    def reader(self, shard: int, tree: TreeName) -> ReadTile:
        """Reads the tiles of one tree. The reader raises ValueError where a tile has fewer hashes than it is asked
        for."""

        @translated()
        def read(level: int, number: int, width: int) -> bytes:
            place = {"shard": shard, "tree": tree, "level": level, "number": number}
            row = self._connection.execute(READ_TILE, place, binary=True).fetchone()
            hashes = b"" if row is None else bytes(row[0])
            if len(hashes) < width * HASH_BYTES:
                raise ValueError(f"tile {number} of level {level} of the {tree} is not kept up to {width} hashes")
            return hashes[: width * HASH_BYTES]

        return read

    @translated()
    def keep(self, shard: int, grown: Sequence[Growth], live: LiveCheckpoint | None, epoch_no: int | None) -> bool:
        """Write tiles and edges down, and the checkpoint that was signed; the COMMIT shows it.

        False: another prover has a later one, or the database is in another epoch than `epoch_no` (None: in any), or
        lacks what the checkpoint speaks of (it was put back).
        Raises ValueError where an edge of another tree is kept.
        """
        try:
            return self._keep(shard, grown, live, epoch_no)
        except errors.CheckViolation as error:
            raise ValueError(f"what is kept of it is of another tree ({error.diag.message_primary})") from error

    def _keep(self, shard: int, grown: Sequence[Growth], live: LiveCheckpoint | None, epoch_no: int | None) -> bool:
        with self._connection.transaction(), self._connection.cursor() as cursor:
            tiles = [(shard, it.tree, *tile) for it in grown for tile in map(_row, it.tiles)]
            if tiles:
                cursor.executemany(INSERT_TILE, tiles)
            edges = [(shard, it.tree, *edge) for it in grown for edge in map(_row, it.edges)]
            if edges:
                cursor.executemany(GROW_EDGE, edges)
            if live is None:
                return True
            cursor.execute(KEEP_CHECKPOINT, {"shard": shard, "epoch": epoch_no, **live._asdict()})
            return cursor.rowcount == 1


def _row(tile: Tile) -> tuple[int, int, bytes]:
    return tile.level, tile.number, tile.hashes
