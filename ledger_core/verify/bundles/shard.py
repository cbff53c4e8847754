"""Checking one shard of a bundle: the archive's own walk, over the members instead of a store.

Guarantees: manifests, batches and entries pass exactly when the walk through the archive passes them
(`ledger_core.verify.archive_walk`), from the place where the bundle begins; the tree there is the first checkpoint's,
by the consistency proof, so every root behind it is recomputed. Each proof's member is the last line of its batch, the
last checkpoint is that of the last manifest, and the statement says of the shard what was read.
Does not: know what lies before the first batch and behind the last, but for the neighbours of the window in them.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger_core.archive.bundle_names import (
    batch_member,
    consistency_member,
    first_note,
    last_note,
    manifest_member,
    matching_member,
    proof_member,
)
from ledger_core.archive.listing import ShardListing
from ledger_core.archive.manifest import Manifest, parse_manifest
from ledger_core.archive.names import manifest_key
from ledger_core.bundle.matching import MatchedLines, Question
from ledger_core.bundle.statement import Bundle, BundleShard, Neighbours
from ledger_core.bundle.window import WindowCount
from ledger_core.findings import Collector
from ledger_core.ports import StoredObject
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.archive_walk import ShardWalk, VerifiedRange
from ledger_core.verify.archived_range import ArchiveScene, ArchiveSource
from ledger_core.verify.bundles.openings import OpeningsCheck
from ledger_core.verify.bundles.trees import FirstTrees, Read, first_trees
from ledger_core.verify.range_tally import Position

RANGES_MAX: Final = 1_000_000


@dataclass(slots=True)
class _MemberReader:
    """The members of one shard as an archive that is asked for bytes alone."""

    read: Read
    members: Mapping[str, str]  # key in the archive -> name of the member

    def get(self, key: str, version_id: str | None = None) -> bytes:  # noqa: ARG002
        return self.read(self.members[key])

    def versions(self, prefix: str) -> Sequence[StoredObject]:  # noqa: ARG002
        return []


@dataclass(slots=True)
class ShardCheck:
    """One shard. Findings name members."""

    read: Read
    bundle: Bundle
    said: BundleShard  # what the statement says of the shard
    registry: SignerRegistry
    found: Collector
    openings: OpeningsCheck  # one for all shards, in their order
    expected: set[str] = field(default_factory=set)  # the members that it must have, as far as they are known
    _keys: dict[str, str] = field(default_factory=dict)
    _question: Question = field(init=False)
    _matching: int = 0
    _differs: int | None = None  # sequence of the first entry that matches and is not where it belongs

    def __post_init__(self) -> None:
        self._question = Question(self.bundle.filter)

    def run(self) -> None:
        """Check everything of the shard."""
        shard, first = self.said.shard, int(self.said.first_range_no)
        self.found.shard = shard
        if int(self.said.last_range_no) - first >= RANGES_MAX:
            self.found.add("bundle.shards", f"names more than {RANGES_MAX:,} ranges", field="last_range_no")
            return
        self.expected |= {last_note(shard), consistency_member(shard)} | ({first_note(shard)} if first > 1 else set())
        listing = self._listing()
        trees = first_trees(self.read, self.said, self.bundle.env, self.registry, self.found)
        window = WindowCount(self.bundle.from_ts, self.bundle.to_ts)
        trial = Collector(shard)
        walk = self._walk(listing, trees, trial)
        matched = self._matched_lines()
        last: VerifiedRange | None = None
        verdicts = 0
        for verified in walk.ranges():
            last = verified
            self._check_proof_member(verified)
            trees.check_unmoved(verified, trial, manifest_member(shard, verified.range_no))
            self._take_entries(verified, window, matched)
            verdicts += 0 if verified.lines is None else len(verified.lines.verdict_lines)
        self._absorb(trial)
        self.found.place = None
        if last is None:
            self.found.add("bundle.shards", "the shard has no sound range", field="shard")
            return
        self._check_last_note(last)
        self._check_said(walk, last, window, verdicts)
        if matched is not None:
            matched.finish()
        self._check_matching(matched)

    def _matched_lines(self) -> MatchedLines | None:
        """The member with the entries that match; None when everything was asked for, or it is missing."""
        if not self._question.is_narrow:
            return None
        self.expected.add(matching_member(self.said.shard))
        try:
            return MatchedLines(self.read(matching_member(self.said.shard)))
        except KeyError:
            return None  # a missing member is a finding of its own

    def _take_entries(self, verified: VerifiedRange, window: WindowCount, matched: MatchedLines | None) -> None:
        lines = verified.lines
        for entry, body in zip(lines.entries, lines.bodies, strict=True) if lines is not None else ():
            if entry is None or not window.take(int(entry.seq), entry.recorded_at):
                continue
            if not self._question.matches(entry.settlement_id, [line.account for line in entry.lines]):
                continue
            self._matching += 1
            self.openings.take(self.said.shard, int(entry.seq), entry.event_id, entry.pii_digest)
            if matched is not None and not matched.take(body):
                self._differs = int(entry.seq)

    def _check_matching(self, matched: MatchedLines | None) -> None:
        if matched is not None and matched.fault is not None:
            name = matching_member(self.said.shard)
            self.found.add("bundle.matching", matched.fault, seq=self._differs, field="entries", place=name)
        self.found.count("entries_matching", self._matching)

    def _listing(self) -> ShardListing:
        """The manifests that the statement names, and the batches that these pin."""
        shard, env, listing = self.said.shard, self.bundle.env, ShardListing()
        for number in range(int(self.said.first_range_no), int(self.said.last_range_no) + 1):
            key, name = manifest_key(env, shard, number), manifest_member(shard, number)
            self._keys[key] = name
            self.expected |= {name, proof_member(shard, number)}
            listing.manifests[number] = [self._stored(key, name)]
            manifest = self._manifest(name)
            if manifest is None:
                continue
            pinned = manifest.object.key
            try:
                self._keys[pinned] = batch_member(shard, pinned)
            except ValueError as error:
                self.found.add("bundle.member", str(error), field="key", place=name)
                continue
            self.expected.add(self._keys[pinned])
            listing.batches[pinned] = [self._stored(pinned, self._keys[pinned])]
        return listing

    def _stored(self, key: str, name: str) -> StoredObject:
        try:
            data = self.read(name)
        except KeyError:
            return StoredObject(key, "", 0, "", None, None)
        return StoredObject(key, "", len(data), hashlib.sha256(data).hexdigest(), None, None)

    def _manifest(self, name: str) -> Manifest | None:
        try:
            return parse_manifest(self.read(name))
        except (KeyError, ValueError):
            return None  # the walk has the finding

    def _walk(self, listing: ShardListing, trees: FirstTrees, trial: Collector) -> ShardWalk:
        shard, first = self.said.shard, int(self.said.first_range_no)
        source = ArchiveSource(_MemberReader(self.read, self._keys), listing, second=True)
        scene = ArchiveScene(self.bundle.env, self.registry, keep_lines=True)
        if first == 1:
            return ShardWalk(scene, shard, [source], trial, Position.genesis(shard))
        first_offset = int(self.said.first_offset)
        position = Position(
            shard, int(self.said.first_seq) - 1, None, trees.entries, first_offset, verdicts=trees.verdicts
        )
        manifest = self._manifest(manifest_member(shard, first))
        prev_hash = None if manifest is None else manifest.prev_manifest_hash
        return ShardWalk(scene, shard, [source], trial, position, first - 1, prev_hash)

    def _absorb(self, trial: Collector) -> None:
        """Take what the walk found, with members for the keys of the archive."""
        report = trial.report()
        named = tuple(
            dataclasses.replace(finding, place=self._keys.get(finding.place or "", finding.place))
            for finding in report.findings
        )
        self.found.take(dataclasses.replace(report, findings=named))

    def _check_proof_member(self, verified: VerifiedRange) -> None:
        name = proof_member(self.said.shard, verified.range_no)
        try:
            data = self.read(name)
        except KeyError:
            return
        if data != verified.proof_line + b"\n":
            message = "is not the last line of its batch, ended by LF"
            seq = int(verified.proof.shards[0].last_seq)
            self.found.add("bundle.proof", message, seq=seq, field="proof", place=name)

    def _check_last_note(self, last: VerifiedRange) -> None:
        name = last_note(self.said.shard)
        try:
            note = self.read(name)
        except KeyError:
            return
        if last.listed is None or note.decode("utf-8", "replace") != last.listed.manifest.checkpoint:
            message = "is not the checkpoint of the last manifest"
            self.found.add("bundle.checkpoint", message, field="checkpoint", place=name)

    def _check_said(self, walk: ShardWalk, last: VerifiedRange, window: WindowCount, verdicts: int) -> None:
        """What the statement says of the shard, beside what was read."""
        part, said = last.proof.shards[0], self.said
        entries = int(part.last_seq) - int(said.first_seq) + 1
        neighbours = Neighbours(before=_decimal(window.before), after=_decimal(window.after))
        for name, says, wanted in (
            ("last_range_no", said.last_range_no, str(walk.number)),
            ("last_seq", said.last_seq, part.last_seq),
            ("next_offset", said.next_offset, part.source.next_offset),
            ("num_entries", said.num_entries, str(entries)),
            ("num_verdicts", said.num_verdicts, str(verdicts)),
            ("num_in_window", said.num_in_window, str(window.inside)),
            ("num_matching", said.num_matching, str(self._matching)),
            ("checkpoint", said.checkpoint, last_note(said.shard)),
            ("complete.before", said.complete.before, neighbours.before),
            ("complete.after", said.complete.after, neighbours.after),
        ):
            if says != wanted:
                self.found.add("bundle.shards", f"{name} is said to be {says}, read was {wanted}", field=name)
        if neighbours.before is None and said.first_seq != "1":
            message = "no entry before the window stands in the bundle, and it does not begin with the shard's first"
            self.found.add("bundle.incomplete", message, seq=int(said.first_seq), field="complete.before")
        if neighbours.after is None:
            self.found.count("windows_open_at_the_end")
        self.found.count("entries_in_window", window.inside)


def _decimal(seq: int | None) -> str | None:
    return None if seq is None else str(seq)
