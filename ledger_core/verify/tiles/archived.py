"""Checking the tiles in an archive against the batches in it: each is there, once, locked like the batch that completed
it, and all lead to the trees that the batches add up to.

Guarantees: of a shard whose batches are whole, every full tile of both trees is read and compared; other names are
findings; tiles behind the newest manifest are the archiver's next step, and counted.
Does not: stop at a finding, or check a shard whose trees were lost with a batch (`tiles_unchecked`): that is a finding
already.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ledger_core.archive.listing import ArchiveReader
from ledger_core.archive.manifest import ManifestObject
from ledger_core.archive.names import tile_key, tiles_folder
from ledger_core.errors import Corrupt
from ledger_core.findings import Collector
from ledger_core.ports import StoredObject
from ledger_core.proving.tile_checks import TilesUp
from ledger_core.proving.tiles import TREES, TreeName, tile_path, tile_size
from ledger_core.tree import CompactRange
from ledger_core.verify.archive_walk import VerifiedRange
from ledger_core.verify.archived_range import check_lock, check_versions

_TILE: Final = re.compile(r"tile/([0-7])/((?:x[0-9]{3}/){0,5}[0-9]{3})\Z")


@dataclass(slots=True)
class _Tree:
    """What the listed batches say of one tree."""

    compact: CompactRange | None = field(default_factory=CompactRange)  # None: lost with a batch
    ends: list[int] = field(default_factory=list)  # leaves at the end of each listed range, ascending
    objects: list[ManifestObject] = field(default_factory=list)  # of the same ranges


@dataclass(slots=True)
class TileChecks:
    """Of one shard: give it what the walk verified, then `check`."""

    env: str  # environment, such as prod
    shard: int  # number of the shard, from 0
    trees: dict[TreeName, _Tree] = field(default_factory=lambda: {tree: _Tree() for tree in TREES})

    def add(self, verified: VerifiedRange) -> None:
        """Take the next range; one without a manifest may be without its tiles."""
        if verified.listed is None:
            return
        for name, compact in (("entries", verified.tree), ("verdicts", verified.verdict_tree)):
            tree = self.trees["entries" if name == "entries" else "verdicts"]
            tree.compact = compact
            if compact is not None:
                tree.ends.append(compact.size)
                tree.objects.append(verified.listed.manifest.object)

    def check(self, reader: ArchiveReader, found: Collector) -> None:
        """Compare what the archive has. Raises what the reader raises."""
        for name, tree in self.trees.items():
            if tree.compact is None:
                found.count("tiles_unchecked")
                continue
            listed: dict[str, list[StoredObject]] = {}
            for stored in reader.versions(tiles_folder(self.env, self.shard, name)):
                listed.setdefault(stored.key, []).append(stored)
            _TreeCheck(self, reader, found, name, tree, tree.compact, listed).run()


@dataclass(slots=True)
class _TreeCheck:
    of: TileChecks
    reader: ArchiveReader
    found: Collector
    name: TreeName
    tree: _Tree
    compact: CompactRange
    listed: dict[str, list[StoredObject]]

    def run(self) -> None:
        found, folder = self.found, tiles_folder(self.of.env, self.of.shard, self.name)
        up = TilesUp(lambda level, number, _width: self._bytes(level, number))
        try:
            for tile in self._compared(up):
                found.count("tiles")
                self.listed.pop(tile, None)
            if not up.leads_to(self.compact):
                message = f"the tiles of the {self.name} do not lead to the tree of the batches"
                found.add("archive.tiles", message, field=self.name, place=folder)
        except (KeyError, ValueError) as error:
            found.add("archive.tiles", f"the tiles of the {self.name} end here: {error}", field=self.name, place=folder)
        for key in sorted(self.listed):
            if _is_tile(key.removeprefix(folder)):
                found.count("tiles_not_listed_yet")
            else:
                found.add("archive.key", "not the name of a tile", place=key)

    def _compared(self, up: TilesUp) -> Iterator[str]:
        """The keys of the tiles that must be there, each compared."""
        for tile in up.full(self.compact.size):
            key = tile_key(self.of.env, self.of.shard, self.name, tile.level, tile.number)
            if tile.level and self._bytes(tile.level, tile.number) != tile.hashes:
                message = "its hashes are not those of the tiles below it"
                self.found.add("archive.tiles", message, field=self.name, place=key)
            yield key

    def _bytes(self, level: int, number: int) -> bytes:
        """The oldest version. Raises KeyError without one, after saying so."""
        key = tile_key(self.of.env, self.of.shard, self.name, level, number)
        versions = self.listed.get(key, [])
        place, self.found.place = self.found.place, key
        try:
            check_versions(versions, None, self.found)
            stored = next((it for it in versions if it.size_bytes >= 0), None)
            if stored is None:
                self.found.add("archive.missing", "this tile is not in the store", field=self.name)
                raise KeyError(key)
            completed_by = bisect_left(self.tree.ends, (number + 1) * tile_size(level))
            check_lock(stored, self.tree.objects[completed_by], self.found)
            return self.reader.get(key, stored.version_id)
        except Corrupt as error:
            self.found.add("archive.object", str(error), field=self.name)
            raise KeyError(key) from error
        finally:
            self.found.place = place


def _is_tile(path: str) -> bool:
    """Whether it is the one spelling of a full tile's path."""
    named = _TILE.match(path)
    return named is not None and tile_path(int(named[1]), int(re.sub("[x/]", "", named[2]))) == path
