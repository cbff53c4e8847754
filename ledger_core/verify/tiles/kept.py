"""Checking the tiles that the prover keeps in the database: whole, nothing beside them, and of one tree.

Guarantees: upper tiles and edges are computed from the lowest ones and compared; the root that all of them lead to
comes back, for whoever recomputes the tree from the record itself.
Does not: compare that root with the record (`ledger_core.verify.ledger` does), or miss tiles that a rebuild left out.
"""

from __future__ import annotations

from typing import Protocol

from ledger_core.findings import Collector
from ledger_core.proving.tile_checks import TilesUp
from ledger_core.proving.tiles import ReadTile, TreeName, full_tiles, levels_of, tile_path


class TilesInRows(Protocol):
    """See `ledger_core.verify.ledger_rows.LedgerReader`."""

    def leaves_kept(self, shard: int, tree: TreeName) -> int: ...

    def tiles_kept(self, shard: int, tree: TreeName) -> int: ...

    def tiles(self, shard: int, tree: TreeName) -> ReadTile: ...


def kept_root(reader: TilesInRows, shard: int, tree: TreeName, found: Collector) -> tuple[int, bytes] | None:
    """Size and root of the tree that is kept; None: nothing is, or it contradicts itself."""
    size, read = reader.leaves_kept(shard, tree), reader.tiles(shard, tree)
    wanted = sum(full_tiles(level, size) for level in range(levels_of(size)))
    have = reader.tiles_kept(shard, tree)
    if have != wanted:
        message = f"{have} full tiles of the {tree} are kept, a tree of {size} leaves has {wanted}"
        found.add("ledger.tiles", message, field=tree)
    if not size:
        return None
    up = TilesUp(read)
    try:
        for tile in up.full(size):
            found.count("tiles")
            if tile.level and read(tile.level, tile.number, len(tile.hashes) // 32) != tile.hashes:
                message = f"{tile_path(tile.level, tile.number)} of the {tree} is not made of the tiles below it"
                found.add("ledger.tiles", message, field=tree)
        edges, root = up.ends(size)
        for tile in edges:
            width = len(tile.hashes) // 32
            if read(tile.level, tile.number, width) != tile.hashes:
                message = f"{tile_path(tile.level, tile.number, width)} of the {tree} is not made of the tiles below it"
                found.add("ledger.tiles", message, field=tree)
    except ValueError as error:
        found.add("ledger.tiles", f"the tiles of the {tree} cannot be followed: {error}", field=tree)
        return None
    return size, root
