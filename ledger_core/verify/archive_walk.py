"""The one walk through a shard of the archive, range by range: `verify archive` and `rebuild` both take it.

Guarantees: what is yielded was verified whole, and follows what was yielded before it: signatures, chain, tree,
digests, version, lock, offsets, checkpoint. With several sources a manifest or batch that is missing or altered in one
is taken from the next in which it is sound, and is counted and named in `healed`. Behind the newest manifest the
batches that the archiver has not listed yet are verified too.
Does not: stop at a finding unless asked to (`stop`), or write anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ledger_core.archive.names import first_offset_of, manifest_key
from ledger_core.findings import Collector
from ledger_core.ports import StoredObject
from ledger_core.proving.range_proof import RangeProof
from ledger_core.signing.pinned_heads import PinnedHeads
from ledger_core.tree import CompactRange
from ledger_core.verify.archived_range import (
    ArchiveScene,
    ArchiveSource,
    ReadManifest,
    check_object,
    check_place,
    check_unlisted,
    read_manifest,
)
from ledger_core.verify.batch import BatchFacts, BatchLines
from ledger_core.verify.range_tally import Position

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class VerifiedRange:
    """One range of the archive in which everything is sound. `listed` is None for a batch that has no manifest yet.

    `tree` is the shard's tree at the end of the range, None when what came before it was lost.
    """

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    range_no: int  # the shard's ranges count from 1, without a gap
    proof: RangeProof  # parsed and verified
    proof_line: bytes  # the proof's bytes, as they stand in the batch
    tree: CompactRange | None
    verdict_tree: CompactRange | None  # likewise, of the shard's verdict lines
    lines: BatchLines | None  # the batch's lines, when the caller asked to keep them
    event_ids: bytes  # packed ids of the entries; see event_ids.pack_ids
    references: bytes  # packed, of reversals and duplicates; see references.References
    listed: ReadManifest | None


@dataclass(slots=True)
class ShardWalk:
    """One shard's way. To go on behind range `number`, give it with its manifest's hash and the position after it."""

    scene: ArchiveScene
    shard: int
    sources: Sequence[ArchiveSource]
    found: Collector
    position: Position
    number: int = 0
    prev_hash: str | None = None  # of the newest manifest; None: genesis, or lost in a gap
    hashes: dict[int, str] = field(default_factory=dict)
    healed: list[str] = field(default_factory=list)
    _listed: set[str] = field(default_factory=set)
    _pinned: PinnedHeads = field(init=False)

    def __post_init__(self) -> None:
        self._pinned = PinnedHeads(self.scene.registry, self.shard, self.position.seq)

    def ranges(self, *, stop: bool = False) -> Iterator[VerifiedRange]:
        """The sound ranges in order; with `stop`, up to the first finding."""
        found, began = self.found, self.number
        numbers = {number for source in self.sources for number in source.listing.manifests if number > began}
        for number in sorted(numbers):
            before = len(found)
            if number != self.number + 1:
                self._report_gap(number)
                if stop:
                    return
            verified = self._range(number)
            if verified is not None and len(found) == before:
                yield verified
            if stop and len(found):
                return
            self.number = number
        yield from self._unlisted(whole=began == 0)
        found.place = None
        self._pinned.finish(self.position.seq, found)

    def _report_gap(self, number: int) -> None:
        first = self.number + 1
        gap = str(first) if number == first + 1 else f"{first}..{number - 1}"
        place = manifest_key(self.scene.env, self.shard, first)
        self.found.add("archive.manifest_gap", f"manifest {gap} is missing", field="manifest_no", place=place)
        self.prev_hash = None

    def _range(self, number: int) -> VerifiedRange | None:
        found, follows = self.found, number == self.number + 1
        known = follows and (self.prev_hash is not None or number == 1)
        found.place = manifest_key(self.scene.env, self.shard, number)

        def read(source: ArchiveSource, trial: Collector) -> ReadManifest | None:
            got = read_manifest(source, self.scene, number, trial)
            if got is not None:
                manifest = got.manifest
                check_place(manifest, self.scene.env, self.shard, number, self.prev_hash, known=known, found=trial)
            return got

        listed = self._first_sound(read)
        if listed is None:
            self.prev_hash = None
            return None
        self.prev_hash = self.hashes[number] = listed.manifest.hash
        found.place = listed.manifest.object.key
        self._listed.add(listed.manifest.object.key)
        before = self.position

        def check(source: ArchiveSource, trial: Collector) -> tuple[BatchFacts | None, Position]:
            position = dataclasses.replace(before)
            return check_object(source, self.scene, listed.manifest, position, trial), position

        facts, self.position = self._first_sound(check)
        return self._verified(number, facts, listed)

    def _unlisted(self, *, whole: bool) -> Iterator[VerifiedRange]:
        """Batches without a manifest: behind the newest one they are the archiver's next step, elsewhere findings."""
        found = self.found
        keys = sorted({key for source in self.sources for key in source.listing.batches} - self._listed)
        for key in keys:
            offset, following = first_offset_of(key), self.position.next_offset
            found.place = key
            if offset is None or (following is not None and offset < following):
                if whole:
                    found.add("archive.unlisted", "no manifest lists this object", field="key")
                continue
            found.count("objects_not_listed_yet")
            if offset == following:
                before = len(found)
                verified = self._next_unlisted(key)
                if verified is not None and len(found) == before:
                    self.number = verified.range_no
                    yield verified

    def _next_unlisted(self, key: str) -> VerifiedRange | None:
        before = self.position

        def check(source: ArchiveSource, trial: Collector) -> tuple[BatchFacts | None, Position]:
            position = dataclasses.replace(before)
            versions: list[StoredObject] = source.listing.batches.get(key, [])
            stored = next((item for item in versions if item.size_bytes >= 0), None)
            if stored is None:
                trial.add("archive.missing", "only a delete marker is left", field="version_id")
                return None, position
            return check_unlisted(source, self.scene, stored, position, self.number + 1, trial), position

        facts, self.position = self._first_sound(check)
        return self._verified(self.number + 1, facts, None)

    def _verified(self, number: int, facts: BatchFacts | None, listed: ReadManifest | None) -> VerifiedRange | None:
        if listed is not None:
            self._pinned.signed(listed.manifest.signer_kid)
        if facts is None or facts.proof is None:
            return None
        self._pinned.signed(facts.proof.signer_kid, *(it.signer_kid for it in facts.proof.cosignatures or ()))
        self._pinned.passed(self.position.seq, facts.proof.shards[0].head_hash)
        return VerifiedRange(
            self.shard,
            number,
            facts.proof,
            facts.proof_line,
            self.position.tree,
            self.position.verdicts,
            facts.lines,
            facts.event_ids,
            facts.references,
            listed,
        )

    def _first_sound(self, check: Callable[[ArchiveSource, Collector], T]) -> T:
        """What the first source gives without a finding; the first source's answer and findings when none does."""
        first: tuple[T, Collector] | None = None
        for source in self.sources:
            trial = Collector(self.found.shard, self.found.place)
            answer = check(source, trial)
            if not len(trial):
                if first is not None:
                    self.found.count("healed")
                    self.healed.append(str(self.found.place))
                self.found.absorb(trial)
                return answer
            first = first or (answer, trial)
        assert first is not None  # noqa: S101  # there is at least one source
        self.found.absorb(first[1])
        return first[0]
