"""Tiles: which ones a growing tree completes, and that proofs computed from them are those of the whole tree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_core.proving.tiles import TILE_BYTES, GrowingTiles, TiledTree, completed, tile_path
from ledger_core.tree import CompactRange, consistency_proof, inclusion_proof, leaf_hash, root_of

LEAVES = [leaf_hash(b"%d" % number) for number in range(70_000)]  # more than one tile of level 1
SIZES = st.one_of(st.integers(1, 1_100), st.sampled_from([65_535, 65_536, 65_537, 66_000, 69_999]))


def tiles_of(size: int) -> dict[tuple[int, int], bytes]:
    return {(tile.level, tile.number): tile.hashes for tile in GrowingTiles().extend(LEAVES[:size])}


ALL = tiles_of(len(LEAVES))


def tiled(size: int) -> TiledTree:
    """Reads what a tree of that size has in tiles, and no hash more: one that comes later is not there."""
    growing = GrowingTiles()
    growing.extend(LEAVES[:size])
    held = {(tile.level, tile.number): tile.hashes for tile in growing.edge_tiles()}
    held |= {place: ALL[place] for place in completed(0, size)}

    def read(level: int, number: int, width: int) -> bytes:
        assert len(held[level, number]) == width * 32
        return held[level, number]

    return TiledTree(size, read)


@given(st.lists(st.integers(0, 700), max_size=6))
def test_each_tile_comes_once_when_it_is_complete(parts: list[int]) -> None:
    growing, size, seen = GrowingTiles(), 0, []
    for part in parts:
        made = growing.extend(LEAVES[size : size + part])
        assert [(tile.level, tile.number) for tile in made] == completed(size, size + part)
        assert all(len(tile.hashes) == TILE_BYTES and ALL[tile.level, tile.number] == tile.hashes for tile in made)
        seen += made
        size += part
    assert {(tile.level, tile.number) for tile in seen} == set(completed(0, size))
    assert len(seen) == len(completed(0, size))
    assert all(len(edge) < 256 for edge in growing.edges)
    assert growing.compact() == CompactRange().extend(LEAVES[:size])


@given(SIZES)
@settings(max_examples=50)
def test_the_edges_are_read_back_from_tiles_of_a_tree_that_has_grown(size: int) -> None:
    growing = GrowingTiles()
    growing.extend(LEAVES[:size])
    later = GrowingTiles()
    later.extend(LEAVES[: size + 300])
    held = {(tile.level, tile.number): tile.hashes for tile in later.edge_tiles()}
    held |= {place: ALL[place] for place in completed(0, size + 300) if place in ALL}
    again = GrowingTiles.read(size, lambda level, number, width: held[level, number][: width * 32])
    assert (again.size, [edge for edge in again.edges if edge]) == (size, [edge for edge in growing.edges if edge])
    assert again.compact() == growing.compact()
    assert again.extend(LEAVES[size : size + 300]) == growing.extend(LEAVES[size : size + 300])


def test_the_second_level_holds_the_roots_of_the_first() -> None:
    assert ALL[1, 0] == b"".join(root_of(LEAVES[at : at + 256]) for at in range(0, 65_536, 256))
    assert set(ALL) == {(0, number) for number in range(273)} | {(1, 0)}


@given(SIZES, st.data())
@settings(max_examples=150)
def test_proofs_by_tiles_are_those_of_the_tree(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    old_size = data.draw(st.integers(0, size))
    tree = tiled(size)
    assert tree.root() == root_of(LEAVES[:size])
    assert tree.inclusion_proof(index) == inclusion_proof(LEAVES, index, size)
    assert tree.consistency_proof(old_size) == consistency_proof(LEAVES, old_size, size)


@pytest.mark.parametrize(
    ("level", "number", "width", "path"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 67, 256, "tile/0/067"),
        (0, 999, 256, "tile/0/999"),
        (0, 1000, 256, "tile/0/x001/000"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),  # the specification's own example
        (3, 5, 256, "tile/3/005"),
        (1, 1000, 17, "tile/1/x001/000.p/17"),
    ],
)
def test_paths_are_those_of_the_specification(level: int, number: int, width: int, path: str) -> None:
    assert tile_path(level, number, width) == path


@pytest.mark.parametrize(
    ("level", "number", "width"), [(-1, 0, 256), (8, 0, 256), (0, -1, 256), (0, 0, 0), (0, 0, 257)]
)
def test_what_is_no_tile_has_no_path(level: int, number: int, width: int) -> None:
    with pytest.raises(ValueError, match="no tile"):
        tile_path(level, number, width)


def test_a_tree_refuses_a_short_tile_and_what_is_not_in_it() -> None:
    for size in (256, 257, 3):
        with pytest.raises(ValueError, match="bytes, not"):
            TiledTree(size, lambda _level, _number, _width: b"short").root()
    for outside in (-1, 300):
        with pytest.raises(ValueError, match="no leaf"):
            tiled(300).inclusion_proof(outside)
        with pytest.raises(ValueError, match="no tree"):
            tiled(300).consistency_proof(outside if outside < 0 else 301)
    with pytest.raises(ValueError, match="shrink"):
        completed(2, 1)
