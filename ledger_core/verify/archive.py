"""Checking a whole archive from the store alone: every version of every object, and every byte in them.

Guarantees: per shard, manifests form one gapless signed chain from 1; each pins one version of one batch whose
digests, sizes, lock and range are what it says, and carries the signed checkpoint of the batch's root; the first batch
begins at offset 0, batches follow each other without a gap in sequences, offsets and proofs, and their entries are
recomputed from genesis on and held to the rules of posting; no event id stands in two entries, and reversals and
duplicates name entries of their shard that were posted before, each up to a limit (`ledger_core.verify.event_ids`,
`ledger_core.verify.references`). The tiles of both trees are those of the batches
(`ledger_core.verify.tiles`). A key with several versions or a delete marker is a finding (shadowed), and so
is an object that no manifest lists, unless it lies behind the newest manifest (the archiver's next step). It cannot
know of manifests cut off at the end, unless the caller says where the chain must end (`expected`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ledger_core.archive.listing import ArchiveReader as ArchiveReader
from ledger_core.archive.listing import ShardListing, list_archive
from ledger_core.findings import Collector, Report
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.announced import ArchivedProofs
from ledger_core.verify.archive_walk import ShardWalk
from ledger_core.verify.archived_range import ArchiveScene, ArchiveSource
from ledger_core.verify.event_ids import EVENT_IDS_MAX, EventIds
from ledger_core.verify.range_tally import Position
from ledger_core.verify.references import REFERENCES_MAX, References
from ledger_core.verify.tiles.archived import TileChecks


@dataclass(frozen=True, slots=True)
class ArchiveHead:
    """Where a shard's manifest chain must reach at least: from Postgres, or from an earlier walk through the
    archive.
    """

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    manifest_no: int  # number of the newest manifest known; the shard's count from 1
    hash: str  # lower-case hex, of that manifest


def check_archive(
    reader: ArchiveReader,
    env: str,
    registry: SignerRegistry,
    *,
    shards: Iterable[int] | None = None,
    expected: Sequence[ArchiveHead] = (),
    event_ids_max: int = EVENT_IDS_MAX,
    references_max: int = REFERENCES_MAX,
    proofs: ArchivedProofs | None = None,
) -> Report:
    """Check everything of `env` in the archive (or only `shards`). Raises what the reader raises (Unavailable).

    `proofs` takes the proof of each range, to be compared with what was announced (`ledger_core.verify.announced`).
    """
    found, event_ids = Collector(), EventIds(event_ids_max)
    listings = list_archive(reader, env, found)
    wanted = set(shards) if shards is not None else set(listings) | {head.shard for head in expected}
    for shard in sorted(wanted):
        found.shard = shard
        source = ArchiveSource(reader, listings.get(shard) or ShardListing())
        walk = ShardWalk(ArchiveScene(env, registry), shard, [source], found, Position.genesis(shard))
        references = References(references_max)
        first, tiles = event_ids.count, TileChecks(env, shard)
        for verified in walk.ranges():
            tiles.add(verified)
            event_ids.add(verified.event_ids)
            references.add(verified.references)
            if proofs is not None:
                proofs.add(shard, verified.range_no, verified.proof.hash)
        if proofs is not None:
            for number in source.listing.manifests:
                proofs.add(shard, number, None)
        found.place = None
        tiles.check(reader, found)
        references.check(event_ids, first, walk.position.seq, found)
        for head in expected:
            if head.shard == shard and walk.hashes.get(head.manifest_no) != head.hash:
                have = walk.hashes.get(head.manifest_no, "none")
                message = f"manifest {head.manifest_no} must have hash {head.hash}, the archive has {have}"
                found.add("archive.truncated", message, field="manifest_no")
    if not wanted:
        found.add("archive.empty", f"there is no manifest of environment {env}: an empty archive proves nothing")
    found.shard = found.place = None
    event_ids.check(found)
    return found.report()
