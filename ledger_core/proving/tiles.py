"""Tiles of a shard's tree (C2SP tlog-tiles): 256 hashes of 32 bytes each. Level L, tile N holds the hashes of height 8L
with index 256N to 256N + 255. Pure.

Guarantees: `GrowingTiles` yields each tile once, when the tree completes it, lower levels first; proofs of `TiledTree`
are those of `ledger_core.tree`, computed from full tiles and the leaves behind the last full one.
Does not: store tiles, or check that they belong to a signed root: whoever verifies the proof does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger_core.tree import HASH_BYTES, node_hash, root_of

TILE_HEIGHT: Final = 8
TILE_HASHES: Final = 1 << TILE_HEIGHT
TILE_BYTES: Final = TILE_HASHES * HASH_BYTES


@dataclass(frozen=True, slots=True)
class Tile:
    """One full tile."""

    level: int  # from 0, the leaves
    number: int  # from 0, along its level
    hashes: bytes  # 256 hashes joined, left to right


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


@dataclass(slots=True)
class GrowingTiles:
    """What a growing tree has behind its last full tile of each level: fewer than 256 hashes a level."""

    size: int = 0  # leaves so far
    edges: list[list[bytes]] = field(default_factory=list)  # by level, each hash 32 bytes

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


@dataclass(frozen=True, slots=True)
class TiledTree:
    """A tree of `size` leaves, read by tiles. A reader of tiles may raise what it likes. Raises ValueError when `tail`
    does not fit `size`, or a tile has another length."""

    size: int  # leaves
    tail: Sequence[bytes]  # leaf hashes behind the last full tile of level 0
    tile: Callable[[int, int], bytes]  # level and number of a full tile -> its hashes joined

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.tail) != self.size % TILE_HASHES:
            raise ValueError(f"behind the last full tile of {self.size} leaves there are not {len(self.tail)}")

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
        """The root over leaves `[first, last)`, a subtree as the definition splits them."""
        count = last - first
        if count & (count - 1):
            middle = first + (1 << (count.bit_length() - 1))
            return node_hash(self._root(first, middle), self._root(middle, last))
        height = count.bit_length() - 1
        level, rest = divmod(height, TILE_HEIGHT)
        at = first >> (TILE_HEIGHT * level)
        number, place = divmod(at, TILE_HASHES)
        if number < full_tiles(level, self.size):  # one read for all of them: they lie in one tile
            return root_of(self._hashes(level, number)[place : place + (1 << rest)])
        if level == 0:
            return root_of(self.tail[place : place + (1 << rest)])
        return root_of(root_of(self._hashes(level - 1, below)) for below in range(at, at + (1 << rest)))

    def _hashes(self, level: int, number: int) -> list[bytes]:
        data = self.tile(level, number)
        if len(data) != TILE_BYTES:
            raise ValueError(f"tile {tile_path(level, number)} has {len(data)} bytes, not {TILE_BYTES}")
        return [data[at : at + HASH_BYTES] for at in range(0, TILE_BYTES, HASH_BYTES)]
