"""The ledger from its archive: what a database lacks, range by verified range.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. CHECK: list, survey, compare        nothing is written; what does not fit is Refused
  2. VERIFY the next range of a shard    nothing is written
  3. WRITE it, one transaction           the commit point: a crash leaves a prefix, and the next run goes on behind it

Guarantees: a range is written only when everything in it is sound, in order; a kill at any moment leaves a prefix, from
which the next run goes on; a range that is not sound stops its shard behind the last good one and is named.
Does not: verify anything itself (`ledger_core.verify.archive_walk` does, as for `verify archive`), or publish: the
poster does that, from `relayed_offset`, when it opens the shard.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ledger_core.archive.listing import ArchiveReader, ShardListing, list_archive
from ledger_core.findings import Collector, Report
from ledger_core.posting.plans import ShardHead
from ledger_core.recovery.archived_plan import not_a_prefix
from ledger_core.recovery.archived_rows import ArchivedRows, rows_of
from ledger_core.recovery.published import Published
from ledger_core.recovery.rebuild_checks import (
    HeldShard,
    ShardSurvey,
    check_clock,
    check_empty,
    check_kids,
    check_ranges,
    kids_in,
    start_position,
    survey,
)
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.archive_walk import ShardWalk, VerifiedRange
from ledger_core.verify.archived_range import ArchiveScene, ArchiveSource, sources_of
from ledger_core.verify.batch import check_batch
from ledger_core.verify.range_tally import Position


class RebuildRows(Protocol):
    """See `ledger_core.postgres.recovery.rebuild_store`."""

    def write(self, verified: VerifiedRange, rows: ArchivedRows, published: Published) -> ShardHead: ...

    def flush(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive with its second sources, listed: the same shard's listing of each reader."""

    scene: ArchiveScene  # what every check goes by
    readers: Sequence[ArchiveReader]  # the archive itself first, then second sources
    listings: Sequence[Mapping[int, ShardListing]]  # one a reader, shard -> listing; in the order of readers
    strays: Report  # names below the environment that are not ours

    @property
    def shards(self) -> list[int]:
        return sorted({shard for listing in self.listings for shard in listing})

    def sources(self, shard: int) -> list[ArchiveSource]:
        """The shard in every reader; copies are asked for bytes only."""
        return sources_of(self.readers, [listing.get(shard) or ShardListing() for listing in self.listings])


@dataclass(frozen=True, slots=True)
class RebuildJob:
    """One shard to put back: where its walk begins, and how far there is to go."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    start: int  # newest manifest that the database has; 0 without one
    start_hash: str | None  # hex, of that manifest; None without one
    position: Position  # tree and offset where the walk begins
    published: Published  # what the topics hold of the shard already
    origin: str  # name of the shard's checkpoints
    last_seq: int  # as the manifests promise
    held: ShardHead | None  # the shard's row; None when the database has none

    @property
    def held_seq(self) -> int:
        return 0 if self.held is None else self.held.seq


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """What became of one shard. `written` ranges and entries are those of this run."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    report: Report  # findings of the walk
    ranges_held: int  # ranges that the database had before
    ranges_written: int  # ranges of this run
    entries_written: int  # entries of this run
    head: ShardHead | None  # the shard's row at the end; None when nothing was written
    healed: tuple[str, ...] = ()  # places of what a second source supplied


@dataclass(frozen=True, slots=True)
class Preparation:
    """A checked beginning: one survey and, where there is something to do, one job for each shard."""

    surveys: Mapping[int, ShardSurvey]  # shard -> what the archive promises
    held: Mapping[int, HeldShard]  # shard -> what the database has
    matched: set[int] = field(default_factory=set)  # shards whose database and archive were found to agree


def open_archive(readers: Sequence[ArchiveReader], env: str, registry: SignerRegistry) -> Archive:
    """List the archive. Raises Refused when it holds nothing of the environment, and Unavailable."""
    found = Collector()
    listings = [list_archive(readers[0], env, found)]
    listings += [list_archive(reader, env, Collector()) for reader in readers[1:]]
    archive = Archive(ArchiveScene(env, registry, keep_lines=True), readers, listings, found.report())
    check_empty(readers[0], env, archive.shards)
    return archive


def prepare(
    archive: Archive,
    held: Sequence[HeldShard],
    held_hash: Callable[[int, int], bytes | None],
    now: dt.datetime,
    *,
    locks_may_have_ended: bool = False,
) -> Preparation:
    """Everything that can be refused before anything is written. Raises Refused, Unavailable."""
    # 1. CHECK. Nothing is written: a crash checks again, also what an earlier run wrote.
    by_shard = {item.head.shard: item for item in held}
    surveys = {shard: survey(archive.sources(shard), shard, by_shard.get(shard)) for shard in archive.shards}
    listings = [source.listing for shard in archive.shards for source in archive.sources(shard)]
    kids = {kid for found in surveys.values() for kid in found.kids}
    check_kids(kids | kids_in(listings), archive.scene.registry)
    check_clock(list(surveys.values()), now, locks_may_have_ended=locks_may_have_ended)
    prepared = Preparation(surveys, by_shard)
    for shard, found in surveys.items():
        check_ranges(found, by_shard.get(shard))
        if found.start or _head_matches(archive, found, by_shard.get(shard), held_hash):
            prepared.matched.add(shard)
    for shard, item in by_shard.items():
        if shard not in surveys and item.head.next_offset > item.head.first_offset and not prepared.matched:
            raise not_a_prefix(f"shard {shard} has {item.head.seq} entries, and the archive has nothing of it")
    return prepared


def _head_matches(
    archive: Archive, found: ShardSurvey, held: HeldShard | None, held_hash: Callable[[int, int], bytes | None]
) -> bool:
    """Whether database and archive share entries of the shard. Raises Refused when they hold different ones."""
    base = held.newest.last_seq if held is not None and held.newest is not None else 0
    if held is None or held.head.seq <= base or not found.manifests:
        return False
    seq = min(held.head.seq, found.last_seq)
    archived = archived_hash(archive, found, seq)
    if archived is None:
        return False  # unreadable: the walk names it, and compares before it writes
    if archived != held_hash(found.shard, seq):
        raise not_a_prefix(f"shard {found.shard} has another entry at seq {seq} than the archive")
    return True


def archived_hash(archive: Archive, found: ShardSurvey, seq: int) -> bytes | None:
    """The hash (32 bytes) of an entry in a surveyed batch; None when no copy of the batch can be read."""
    planned = next((item for item in found.manifests if item.last_seq >= seq), None)
    if planned is None:
        return None
    for source in archive.sources(found.shard):
        for stored in source.listing.batches.get(planned.key, []):
            try:
                data = source.reader.get(stored.key, stored.version_id)
            except KeyError:
                continue
            facts = check_batch(data, archive.scene.registry, Collector(), keep_lines=True)
            first = int(facts.proof.shards[0].first_seq) if facts.proof is not None else 0
            hashes = facts.lines.hashes if facts.lines is not None else []
            if first and 0 <= seq - first < len(hashes):
                return hashes[seq - first]
    return None


def job_of(prepared: Preparation, shard: int, published: Published, origin: str) -> RebuildJob:
    """The job of one surveyed shard. `origin` names the checkpoints of one that has none yet. Raises Refused."""
    found, held = prepared.surveys[shard], prepared.held.get(shard)
    return RebuildJob(
        shard,
        found.start,
        found.start_hash,
        start_position(found, held),
        published,
        found.origin or origin,
        found.last_seq,
        None if held is None else held.head,
    )


def rebuild_shard(
    job: RebuildJob,
    scene: ArchiveScene,
    sources: Sequence[ArchiveSource],
    rows: RebuildRows,
    advance: Callable[[int], None],
) -> RebuildResult:
    """Walk the shard and write what is sound. `advance` is called for every entry written.

    Raises Refused (the database holds something else), Corrupt, Unavailable; findings are in the result.
    """
    found = Collector(job.shard)
    walk = ShardWalk(scene, job.shard, sources, found, job.position, job.start, job.start_hash)
    head = job.held
    seq = job.held_seq
    written = 0
    origin = job.origin
    # 2. VERIFY. Each range before it is written, from behind the last one that the database holds; a crash forgets it.
    for verified in walk.ranges(stop=True):
        part = verified.proof.shards[0]
        if verified.listed is not None:
            origin = verified.listed.manifest.checkpoint.partition("\n")[0]
        artefacts = rows_of(verified, job.published.journal_offset(int(part.last_seq)), origin)
        # 3. WRITE. A crash before the COMMIT: the range is walked again; after: it is held like any other.
        head = rows.write(verified, artefacts, job.published)
        written += 1
        advance(max(0, head.seq - seq))
        seq = max(seq, head.seq)
    rows.flush()
    return RebuildResult(job.shard, found.report(), job.start, written, seq - job.held_seq, head, tuple(walk.healed))
