"""Tiles of a shard's tree (C2SP tlog-tiles): 256 hashes of 32 bytes each. Level L, tile N holds the hashes of height 8L
with index 256N to 256N + 255. Pure.

Guarantees: `GrowingTiles` yields each tile once, when the tree completes it, lower levels first; proofs of `TiledTree`
are those of `ledger_core.tree`, each from some forty tiles at most, full ones and the edges of those that grow.
Does not: store tiles, or check that they belong to a signed root: whoever verifies the proof does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from ledger_core.tree import HASH_BYTES, CompactRange, node_hash, root_of

TILE_HEIGHT: Final = 8
TILE_HASHES: Final = 1 << TILE_HEIGHT
TILE_BYTES: Final = TILE_HASHES * HASH_BYTES

ReadTile = Callable[[int, int, int], bytes]
"""(level, number, width) -> the first `width` hashes of that tile, joined: fewer than 256 of one that is not full."""


TreeName = Literal["entries", "verdicts"]
"""Which tree of a shard's record: that of its entries, or that of its verdict lines."""


TREES: Final[tuple[TreeName, ...]] = ("entries", "verdicts")


class LiveCheckpoint(NamedTuple):
    """The newest checkpoint of a shard that was signed apart from ranges."""

    size: int  # leaves in the tree of entries
    verdict_count: int  # leaves in the tree of verdict lines
    next_offset: int  # settlements offset where its record ends, exclusive
    note: bytes  # the signed note


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile."""

    level: int  # from 0, the leaves
    number: int  # from 0, along its level
    hashes: bytes  # up to 256 hashes joined, left to right


@dataclass(frozen=True, slots=True)
class Growth:
    """What a tree became."""

    tree: TreeName  # which one
    tiles: Sequence[Tile]  # that it completed
    edges: Sequence[Tile]  # of every level, the ones that were just filled with nothing in them


def overlaid(grown: Growth, below: ReadTile) -> ReadTile:
    """Reads what has grown, and what was there before from `below`."""
    fresh = {(tile.level, tile.number): tile.hashes for tile in (*grown.edges, *grown.tiles)}

    def read(level: int, number: int, width: int) -> bytes:
        hashes = fresh.get((level, number))
        return below(level, number, width) if hashes is None else hashes[: width * HASH_BYTES]

    return read


def tile_path(level: int, number: int, width: int = TILE_HASHES) -> str:
    """Where a static log keeps it: `tile/<L>/<N>`, N in groups of three digits, all but the last behind an `x`; a tile
    of fewer hashes ends with `.p/<W>`. Raises ValueError for what is not a tile."""
    if not 0 <= level < 8 or number < 0 or not 1 <= width <= TILE_HASHES:
        raise ValueError(f"no tile {number} of {width} hashes at level {level}")
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03d}")
    partial = "" if width == TILE_HASHES else f".p/{width}"
    return f"tile/{level}/{'/'.join(reversed(groups))}{partial}"


def tile_size(level: int) -> int:
    """How many leaves stand below a full tile of a level."""
    return 1 << (TILE_HEIGHT * (level + 1))


def full_tiles(level: int, size: int) -> int:
    """How many full tiles a tree of `size` leaves has at a level."""
    return size >> (TILE_HEIGHT * (level + 1))


def completed(size: int, grown: int) -> list[tuple[int, int]]:
    """Level and number of each tile that a tree completes as it grows, lower levels first. Raises ValueError when it
    shrinks."""
    if not 0 <= size <= grown:
        raise ValueError(f"a tree does not shrink: {size} to {grown}")
    found: list[tuple[int, int]] = []
    level = 0
    while last := full_tiles(level, grown):
        found += [(level, number) for number in range(full_tiles(level, size), last)]
        level += 1
    return found


def edge_width(level: int, size: int) -> int:
    """How many hashes stand behind the last full tile of a level."""
    return (size >> (TILE_HEIGHT * level)) % TILE_HASHES


def levels_of(size: int) -> int:
    """How many levels have a hash in a tree of `size` leaves."""
    return -(-size.bit_length() // TILE_HEIGHT)


@dataclass(slots=True)
class GrowingTiles:
    """What a growing tree has behind its last full tile of each level: fewer than 256 hashes a level."""

    size: int = 0  # leaves so far
    edges: list[list[bytes]] = field(default_factory=list)  # by level, each hash 32 bytes

    @classmethod
    def read(cls, size: int, tile: ReadTile) -> GrowingTiles:
        """The edges of a tree that is kept in tiles. Raises ValueError when a tile has another length."""
        tree = TiledTree(size, tile)
        levels = range(levels_of(size))
        return cls(size, [tree.hashes(level, full_tiles(level, size)) for level in levels])

    def extend(self, leaves: Iterable[bytes]) -> list[Tile]:
        """Take more leaf hashes; the tiles that they complete, lower levels first, each level in order."""
        row = list(leaves)
        self.size += len(row)
        made: list[Tile] = []
        level = 0
        while row:
            if level == len(self.edges):
                self.edges.append([])
            number = full_tiles(level, self.size)
            whole = self.edges[level] + row
            full = len(whole) // TILE_HASHES
            tiles = [whole[at * TILE_HASHES : (at + 1) * TILE_HASHES] for at in range(full)]
            made += [Tile(level, number - full + at, b"".join(tile)) for at, tile in enumerate(tiles)]
            self.edges[level] = whole[full * TILE_HASHES :]
            row = [root_of(tile) for tile in tiles]
            level += 1
        return made

    def compact(self) -> CompactRange:
        """The same tree by its perfect subtrees: those of the highest level are the biggest, and stand first."""
        subtrees = [CompactRange().extend(edge).hashes for edge in reversed(self.edges)]
        return CompactRange(self.size, tuple(digest for hashes in subtrees for digest in hashes))

    def edge_tiles(self) -> list[Tile]:
        """What stands behind the last full tile of each level, from the lowest up: nothing, when it was just filled."""
        return [Tile(at, full_tiles(at, self.size), b"".join(edge)) for at, edge in enumerate(self.edges)]


@dataclass(frozen=True, slots=True)
class TiledTree:
    """A tree of `size` leaves, read by tiles, each once in a proof. A reader of tiles may raise what it likes. Raises
    ValueError where a tile has another length."""

    size: int  # leaves
    tile: ReadTile

    def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """As `tree.inclusion_proof` (RFC 9162, section 2.1.3.1). Raises ValueError when there is no such leaf."""
        if not 0 <= index < self.size:
            raise ValueError(f"no leaf {index} in a tree of {self.size}")
        path, _, _ = self._path(index, to_leaf=True)
        return tuple(reversed(path))

    def consistency_proof(self, old_size: int) -> tuple[bytes, ...]:
        """As `tree.consistency_proof` (RFC 9162, section 2.1.4.1). Raises ValueError when there is no such tree."""
        if not 0 <= old_size <= self.size:
            raise ValueError(f"no tree of {old_size} before one of {self.size}")
        if old_size in (0, self.size):
            return ()
        path, first, last = self._path(old_size - 1, to_leaf=False)
        if first:  # else the subtree is the whole old tree, whose root the verifier knows
            path.append(self._root(first, last))
        return tuple(reversed(path))

    def root(self) -> bytes:
        """The tree's root."""
        return root_of(()) if self.size == 0 else self._root(0, self.size)

    def hashes(self, level: int, number: int) -> list[bytes]:
        """What this tree has in one tile, left to right."""
        width = TILE_HASHES if number < full_tiles(level, self.size) else edge_width(level, self.size)
        data = self.tile(level, number, width) if width else b""
        if len(data) != width * HASH_BYTES:
            raise ValueError(f"tile {tile_path(level, number, width or 1)} has {len(data)} bytes, not {width} hashes")
        return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]

    def _path(self, index: int, *, to_leaf: bool) -> tuple[list[bytes], int, int]:
        path: list[bytes] = []
        first, last = 0, self.size
        while last - first > 1 and (to_leaf or last != index + 1):
            middle = first + (1 << ((last - first - 1).bit_length() - 1))
            if index < middle:
                path.append(self._root(middle, last))
                last = middle
            else:
                path.append(self._root(first, middle))
                first = middle
        return path, first, last

    def _root(self, first: int, last: int) -> bytes:
        """The root over leaves `[first, last)`, a subtree as the definition splits them: a perfect one lies in a
        tile."""
        count = last - first
        if count & (count - 1):
            middle = first + (1 << (count.bit_length() - 1))
            return node_hash(self._root(first, middle), self._root(middle, last))
        level, rest = divmod(count.bit_length() - 1, TILE_HEIGHT)
        number, place = divmod(first >> (TILE_HEIGHT * level), TILE_HASHES)
        return root_of(self.hashes(level, number)[place : place + (1 << rest)])
