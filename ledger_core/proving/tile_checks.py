"""Whether tiles belong to a tree that was signed: from its root down to those that a range completed, and from the
lowest tiles of a whole tree up. Pure.

Guarantees: what `proved_tiles` gives leads to the root it was given, hash by hash: the edges of all levels fold to the
root, and each tile's own root stands in the tile above it. `TilesUp` computes every tile above the lowest level, so
that who compares the tree it ends with knows that all of them are right.
Does not: say that the root was signed, or store a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ledger_core.proving.tiles import (
    TILE_BYTES,
    TILE_HASHES,
    GrowingTiles,
    ReadTile,
    Tile,
    completed,
    edge_width,
    full_tiles,
    tile_path,
)
from ledger_core.tree import HASH_BYTES, CompactRange, root_of


def proved_tiles(size: int, grown: int, root: bytes, read: ReadTile) -> list[Tile]:
    """The tiles that a tree completed as it grew from `size` to `grown` leaves, whose root is `root`: lower levels
    first. Raises ValueError where one that is read does not lead there."""
    wanted = completed(size, grown)
    if not wanted:
        return []
    edges = GrowingTiles.read(grown, read)
    if edges.compact().root() != root:
        raise ValueError(f"the edges of the tree of {grown} leaves lead to another root")
    proved: dict[tuple[int, int], bytes] = {}
    for level, number in reversed(wanted):  # from the top: what stands above a tile was proved before it
        hashes = read(level, number, TILE_HASHES)
        above, place = divmod(number, TILE_HASHES)
        if above == full_tiles(level + 1, grown):
            said = edges.edges[level + 1][place]
        else:
            said = proved[level + 1, above][place * HASH_BYTES : (place + 1) * HASH_BYTES]
        if len(hashes) != TILE_BYTES or root_of(split_hashes(hashes)) != said:
            raise ValueError(f"{tile_path(level, number)} is not that of the tree of {grown} leaves")
        proved[level, number] = hashes
    return [Tile(level, number, proved[level, number]) for level, number in wanted]


def split_hashes(data: bytes) -> list[bytes]:
    """The hashes of a tile, left to right."""
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


@dataclass(slots=True)
class TilesUp:
    """The tiles of a tree, computed from those of its lowest level. Memory is a tile for each level."""

    read: ReadTile  # asked for the lowest level alone
    above: GrowingTiles = field(default_factory=GrowingTiles)  # whose leaves are the roots of the lowest tiles

    def full(self, size: int) -> Iterator[Tile]:
        """Every full tile of the tree of `size` leaves, each behind those that it is made of. Raises ValueError where
        one that is read has another length."""
        for number in range(full_tiles(0, size)):
            hashes = self.read(0, number, TILE_HASHES)
            if len(hashes) != TILE_BYTES:
                raise ValueError(f"{tile_path(0, number)} has {len(hashes)} bytes, not {TILE_BYTES}")
            yield Tile(0, number, hashes)
            for tile in self.above.extend([root_of(split_hashes(hashes))]):
                yield Tile(tile.level + 1, tile.number, tile.hashes)

    def edges(self, size: int, root: bytes) -> list[Tile]:
        """What stands behind the last full tile of each level, once `full` has come to its end. Raises ValueError when
        all of it leads to another root."""
        edges, own = self.ends(size)
        if own != root:
            raise ValueError(f"the tiles of the tree of {size} leaves lead to another root")
        return edges

    def ends(self, size: int) -> tuple[list[Tile], bytes]:
        """The same edges, and the root that all of it leads to. Raises ValueError where one has another length."""
        width = edge_width(0, size)
        lowest = self.read(0, full_tiles(0, size), width) if width else b""
        if len(lowest) != width * HASH_BYTES:
            raise ValueError(f"{tile_path(0, full_tiles(0, size), width)} has {len(lowest)} bytes")
        tail = CompactRange().extend(split_hashes(lowest)).hashes
        root = CompactRange(size, (*self.above.compact().hashes, *tail)).root()
        upper = [Tile(tile.level + 1, tile.number, tile.hashes) for tile in self.above.edge_tiles()]
        return [tile for tile in (Tile(0, full_tiles(0, size), lowest), *upper) if tile.hashes], root

    def leads_to(self, tree: CompactRange) -> bool:
        """Whether the lowest tiles are those of `tree`, whose leaves behind the last full one are not compared."""
        own = self.above.compact().hashes
        return self.above.size == full_tiles(0, tree.size) and tree.hashes[: len(own)] == own
