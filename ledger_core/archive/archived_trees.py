"""The trees of one shard, from its archive alone: the newest signed checkpoint, and any tile of its trees.

Guarantees: reads manifests and tiles by name and never lists the store, so that a question is a few dozen objects
however long the ledger is: the newest manifest is found by doubling, leaves behind the last full tile (fewer than 256)
by bisection over the checkpoints that manifests carry. What was read is kept, so that who asks again reads what is new.
Does not: verify anything: whoever verifies the proof, and the signature of the checkpoint, does. So what it takes from
a manifest need not be signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ledger_core.archive.lines import batch_lines
from ledger_core.archive.listing import ArchiveReader
from ledger_core.archive.manifest import parse_manifest
from ledger_core.archive.names import manifest_key, tile_key
from ledger_core.proving import checkpoint
from ledger_core.proving.checkpoint import Checkpoint
from ledger_core.proving.tile_checks import split_hashes
from ledger_core.proving.tiles import TILE_BYTES, TILE_HASHES, ReadTile, TiledTree, TreeName, tile_path
from ledger_core.tree import leaf_hashes, root_of


class _Listed(NamedTuple):
    """What is taken from a manifest."""

    head: Checkpoint  # of the tree at the end of its range
    key: str  # of its batch
    version_id: str  # of its batch
    entries: int  # lines of entries in it


class ArchivedTrees:
    """Of one shard. Every method may raise what the reader raises, and ValueError for what is missing or no manifest,
    batch or tile."""

    def __init__(self, reader: ArchiveReader, env: str, shard: int) -> None:
        self._reader = reader
        self._env = env
        self._shard = shard
        self._newest = 0
        self._manifests: dict[int, _Listed] = {}
        self._roots: dict[tuple[TreeName, int, int], bytes] = {}  # of full tiles
        self._leaves: dict[tuple[TreeName, int], list[bytes]] = {}  # of a tile that is not full, by its number

    def newest(self) -> bytes | None:
        """The checkpoint in the newest manifest; None: there is no manifest."""
        step = 1
        while self._listed(self._newest + step) is not None:
            self._newest += step
            step *= 2
        while step > 1:
            step //= 2
            if self._listed(self._newest + step) is not None:
                self._newest += step
        listed = self._listed(self._newest)
        return None if listed is None else listed.head.note

    def consistency(self, tree: TreeName, old_size: int, size: int) -> Sequence[bytes]:
        """As `ledger_core.verify.receipts.TreeProofs`."""
        return TiledTree(size, self.reader(tree)).consistency_proof(old_size)

    def reader(self, tree: TreeName) -> ReadTile:
        """Reads the tiles of one tree, full ones and those that are not, up to the newest checkpoint."""

        def read(level: int, number: int, width: int) -> bytes:
            if width == TILE_HASHES:
                return self._full(tree, level, number)
            if level == 0:
                return b"".join(self._tail(tree, number, width))
            return b"".join(self._root(tree, level - 1, number * TILE_HASHES + at) for at in range(width))

        return read

    def _full(self, tree: TreeName, level: int, number: int) -> bytes:
        key = tile_key(self._env, self._shard, tree, level, number)
        try:
            hashes = self._reader.get(key)
        except KeyError:
            raise ValueError(f"{key} is not in the archive") from None
        if len(hashes) != TILE_BYTES:
            raise ValueError(f"{key} has {len(hashes)} bytes, not {TILE_BYTES}")
        return hashes

    def _root(self, tree: TreeName, level: int, number: int) -> bytes:
        place = (tree, level, number)
        if place not in self._roots:
            self._roots[place] = root_of(split_hashes(self._full(tree, level, number)))
        return self._roots[place]

    # --- leaves behind the last full tile ---------------------------------------------------------------------------

    def _tail(self, tree: TreeName, number: int, width: int) -> list[bytes]:
        first = number * TILE_HASHES
        leaves = self._leaves.setdefault((tree, number), [])
        while len(leaves) < width:
            at = first + len(leaves)
            covering = self._covering(tree, at)
            before = self._count(tree, covering - 1)
            found = self._leaves_of(tree, covering)
            if before + len(found) != self._count(tree, covering):
                raise ValueError(f"batch {covering} has {len(found)} {tree}, its manifest says otherwise")
            leaves += found[at - before : first + TILE_HASHES - before]
        return leaves[:width]

    def _covering(self, tree: TreeName, leaf: int) -> int:
        """The manifest whose range has a leaf."""
        low, high = 1, self._newest
        if high == 0 or self._count(tree, high) <= leaf:
            raise ValueError(f"{tile_path(0, leaf // TILE_HASHES)} of the {tree} goes on behind the newest manifest")
        while low < high:
            middle = (low + high) // 2
            if self._count(tree, middle) > leaf:
                high = middle
            else:
                low = middle + 1
        return low

    def _count(self, tree: TreeName, number: int) -> int:
        if number == 0:
            return 0
        listed = self._listed(number)
        if listed is None:
            raise ValueError(f"{manifest_key(self._env, self._shard, number)} is not in the archive")
        return listed.head.size if tree == "entries" else listed.head.record.verdict_count

    def _leaves_of(self, tree: TreeName, number: int) -> list[bytes]:
        listed = self._manifests[number]
        try:
            data = self._reader.get(listed.key, listed.version_id)
        except KeyError:
            raise ValueError(f"{listed.key} is not in the archive") from None
        lines = list(batch_lines(data))
        end = 1 + listed.entries
        return leaf_hashes(lines[1:end] if tree == "entries" else lines[end:-1])

    def _listed(self, number: int) -> _Listed | None:
        if number == 0:
            return None
        if number not in self._manifests:
            key = manifest_key(self._env, self._shard, number)
            try:
                manifest = parse_manifest(self._reader.get(key))
            except KeyError:
                return None
            except ValueError as error:
                raise ValueError(f"{key} is not a manifest: {error}") from error
            head = checkpoint.parse(manifest.checkpoint.encode())
            held = manifest.object.range
            entries = int(held.last_seq) - int(held.first_seq) + 1
            self._manifests[number] = _Listed(head, manifest.object.key, manifest.object.version_id, entries)
        return self._manifests[number]
