"""The tiles that a range completes, in the archive: a static log that anybody can read (docs/FORMATS.md).

Guarantees: a tile is stored only once it was led to the roots of the range's signed checkpoint, hash by hash; all of a
range stand there, under the lock of its batch, before its manifest says that it is archived. Which they are is a
function of the range: whoever tries again stores the same, or finds them there.
Does not: compute a hash of an entry: the prover keeps the tiles, and the archiver waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import structlog

from ledger_core.archive.archived_object import ListingTerms
from ledger_core.archive.names import tile_key
from ledger_core.errors import Refused
from ledger_core.ports import ArchiveStore
from ledger_core.proving import checkpoint
from ledger_core.proving.range_proof import RangeProof
from ledger_core.proving.tile_checks import proved_tiles
from ledger_core.proving.tiles import ReadTile, Tile, TreeName, completed
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import BadSignature

AT_ONCE_MAX: Final = (
    8  # a tile is a few calls of some tens of milliseconds: one by one they would hold posting's pace up
)

log = structlog.get_logger("archiver")


class KeptTiles(Protocol):
    """See `ledger_core.postgres.archive.archiver_store`. Every method may raise Unavailable("postgres")."""

    def leaves_kept(self, shard: int, tree: TreeName) -> int: ...

    def tiles(self, shard: int, tree: TreeName) -> ReadTile: ...


class TileWriter:
    """Of one archiver."""

    def __init__(self, kept: KeptTiles, archive: ArchiveStore, registry: SignerRegistry) -> None:
        self._kept = kept
        self._archive = archive
        self._registry = registry

    def write(self, terms: ListingTerms, proof: RangeProof) -> bool:
        """Store the tiles that a range completes. False: the prover does not keep them yet. Raises Refused when they
        are not those of the checkpoint that was signed, Corrupt when others stand in the store, Unavailable."""
        (part,) = proof.shards
        shard, silent = part.shard, int(part.source.duplicates) + int(part.source.rejected)
        try:
            said, _ = checkpoint.parse_and_verify(terms.checkpoint, self._registry)
        except (ValueError, BadSignature) as error:
            raise _refused(shard, terms, f"its checkpoint does not count: {error}") from error
        verdicts = said.record.verdict_count
        grown: list[tuple[TreeName, int, int, bytes]] = [
            ("entries", int(part.first_seq) - 1, said.size, said.root),
            ("verdicts", verdicts - silent, verdicts, said.record.verdict_root),
        ]
        return all(self._write_tree(terms, proof.env, shard, *tree) for tree in grown)

    def _write_tree(
        self, terms: ListingTerms, env: str, shard: int, tree: TreeName, size: int, grown: int, root: bytes
    ) -> bool:
        if not completed(size, grown):
            return True
        if self._kept.leaves_kept(shard, tree) < grown:
            return False
        try:
            tiles = proved_tiles(size, grown, root, self._kept.tiles(shard, tree))
        except ValueError as error:
            raise _refused(shard, terms, f"the tiles of its {tree} are others: {error}") from error
        self._put(terms, env, shard, tree, tiles)
        return True

    def _put(self, terms: ListingTerms, env: str, shard: int, tree: TreeName, tiles: Sequence[Tile]) -> None:
        until = terms.archived.pinned.retain_until

        def put(tile: Tile) -> None:
            key = tile_key(env, shard, tree, tile.level, tile.number)
            self._archive.put(key, tile.hashes, retain_until=until, metadata={})

        with ThreadPoolExecutor(min(AT_ONCE_MAX, len(tiles))) as pool:
            list(pool.map(put, tiles))
        log.info("tiles.stored", shard=shard, tree=tree, range_no=terms.archived.range_no, count=len(tiles))


def _refused(shard: int, terms: ListingTerms, why: str) -> Refused:
    return Refused(
        f"range {terms.archived.range_no} of shard {shard} is not listed: {why}",
        remedy="`finance verify ledger` says what was altered; tiles that are taken out the prover makes again",
    )
