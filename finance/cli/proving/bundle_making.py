"""Making an auditor's bundle: the archive is read and checked from genesis, and a stretch of it becomes one file.

    1 READ     each object of the archive once, into the folder beside the file; a second run goes on with these
    2 TAKE     the ranges of the window, and the members that speak of them
    3 SIGN     the statement that names every other member
    4 WRITE    the file, into that folder, and check it as an auditor does
    5 RECORD   the audit event with its digests
    6 RENAME   the file to its place, and remove the folder

Guarantees: what is not sound in the archive makes no bundle; the same record gives the same bytes; nothing stands under
the file's name before it is checked and its event is on record.
Does not: change the archive, or read a database beside the event that it asks for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from itertools import islice

from finance.cli.proving.bundle_file import Provide
from finance.cli.proving.bundle_openings import OpeningsFile
from finance.cli.proving.bundle_ranges import TakenRange, taken_range
from finance.verifier_page.assemble import page_bytes
from ledger_core.archive import bundle_names
from ledger_core.archive.batch import parse_metadata
from ledger_core.archive.lines import batch_lines
from ledger_core.archive.listing import ArchiveReader, ShardListing, list_archive
from ledger_core.archive.names import exports_folder
from ledger_core.audit.events import AuditEvent
from ledger_core.bundle.consistency import consistency_bytes, tree_path
from ledger_core.bundle.matching import AskedEntry, Question, decode_asked
from ledger_core.bundle.page import PageFacts, page
from ledger_core.bundle.statement import (
    BUNDLE_SAYS,
    BundleFile,
    BundleFilter,
    BundlePayload,
    BundleShard,
    Neighbours,
    assemble_bundle,
)
from ledger_core.bundle.window import WindowCount, ranges_in
from ledger_core.findings import Collector
from ledger_core.posting.verdicts import decode_verdict
from ledger_core.signing.pinned_signer import PinnedSigner
from ledger_core.signing.registry import SignerRegistry
from ledger_core.times import parse_time
from ledger_core.tree import CompactRange, leaf_hash
from ledger_core.verify.archive_walk import ShardWalk
from ledger_core.verify.archived_range import ArchiveScene, ArchiveSource
from ledger_core.verify.range_tally import Position


@dataclass(frozen=True, slots=True)
class BundleTerms:
    """What was asked for, and what the deployment says."""

    env: str  # environment, such as prod
    from_ts: str  # first moment of the window, RFC 3339, inclusive
    to_ts: str  # end of the window, exclusive
    asked: BundleFilter  # what was asked for beside the window
    ledger_shards: int  # how many shards the ledger has, by the topology
    pii_policy_version: str  # of the topology


@dataclass(slots=True)
class BundleMaker:
    """Steps 1 to 3: reads the archive and gathers the members of one bundle."""

    reader: ArchiveReader
    registry: SignerRegistry
    terms: BundleTerms
    openings: OpeningsFile | None = None  # of personal data; None: they are left out
    found: Collector = field(default_factory=Collector)
    shards: list[BundleShard] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)  # shards of which nothing is archived
    contents: dict[str, Provide] = field(default_factory=dict)  # name of a member -> its bytes
    facts: PageFacts = field(init=False)  # for README.html
    newest_ts: str = ""  # of the manifests that were taken

    def __post_init__(self) -> None:
        self.facts = PageFacts(self.terms.env, self.terms.from_ts, self.terms.to_ts, self.terms.asked)

    def gather(self) -> None:
        """Read and check the archive, and take what the window asks for. `found` says what is not sound."""
        listings = list_archive(self.reader, self.terms.env, self.found)
        for shard in sorted(set(listings) - set(range(self.terms.ledger_shards))):
            self.found.add("archive.shard", f"the ledger has no shard {shard}, and the archive has", field="shard")
        for shard in self.terms.asked.shards or range(self.terms.ledger_shards):
            taken = self._taken(shard, listings[shard]) if shard in listings else []
            if taken and not len(self.found):
                self._add_shard(shard, taken)
            elif not taken:
                self.empty.append(shard)
        if not self.shards and not len(self.found):
            self.found.add("archive.empty", f"nothing of environment {self.terms.env} is archived")
        if not len(self.found):
            self._add_audit()
            self._add_openings()
        self.contents[bundle_names.SIGNERS] = self.registry.to_json
        script = (resources.files("ledger_core.bundle") / "verify.sh").read_bytes()
        self.contents[bundle_names.VERIFY_SH] = lambda: script
        verifier = page_bytes()
        self.contents[bundle_names.VERIFY_HTML] = lambda: verifier

    def _taken(self, shard: int, listing: ShardListing) -> list[TakenRange]:
        self.found.shard = shard
        source = ArchiveSource(self.reader, listing)
        walk = ShardWalk(
            ArchiveScene(self.terms.env, self.registry), shard, [source], self.found, Position.genesis(shard)
        )
        ranges: list[TakenRange] = []
        tree = verdicts = CompactRange()
        for verified in walk.ranges():
            if verified.listed is None:
                break  # the archiver's next step: not in the archive's record yet
            if verified.tree is not None and verified.verdict_tree is not None:
                ranges.append(taken_range(verified, tree, verdicts))
                tree, verdicts = verified.tree, verified.verdict_tree
        self.found.shard = self.found.place = None
        if not ranges or len(self.found):
            return []
        first, last = ranges_in([it.times for it in ranges], self.terms.from_ts, self.terms.to_ts)
        before = [ranges[first - 1].checkpoint] if first else []
        if before:
            note = before[0].encode()
            self.contents[bundle_names.first_note(shard)] = lambda: note
        return ranges[first : last + 1]

    def _add_shard(self, shard: int, taken: list[TakenRange]) -> None:
        window = WindowCount(self.terms.from_ts, self.terms.to_ts)
        matching = 0
        for one in taken:
            for line in self._entries(one):
                entry = decode_asked(line)
                if window.take(int(entry.seq), entry.recorded_at):
                    self.facts.take_entry(entry)
                    is_asked_for = self._is_asked_for(entry)
                    matching += is_asked_for
                    if is_asked_for and self.openings is not None:
                        self.openings.take(shard, entry)
            for line in self._verdicts(one):
                self.facts.take_verdict(decode_verdict(line).reason)
            self._add_range(shard, one)
        if Question(self.terms.asked).is_narrow:
            self.contents[bundle_names.matching_member(shard)] = partial(self._matching_lines, taken)
        first, last = taken[0], taken[-1]
        entries = last.last_seq - first.first_seq + 1
        consistency = self._consistency(taken)
        self.contents[bundle_names.consistency_member(shard)] = lambda: consistency
        self.contents[bundle_names.last_note(shard)] = last.checkpoint.encode
        self.newest_ts = max(self.newest_ts, *(one.ts for one in taken))
        ends = [self.facts.locked_until, *(one.retain_until for one in taken)]
        self.facts.locked_until = min(end for end in ends if end)
        self.shards.append(
            BundleShard(
                shard=shard,
                first_range_no=str(first.number),
                last_range_no=str(last.number),
                first_seq=str(first.first_seq),
                last_seq=str(last.last_seq),
                first_offset=str(first.first_offset),
                next_offset=str(last.next_offset),
                num_entries=str(entries),
                num_verdicts=str(last.next_offset - first.first_offset - entries),
                num_in_window=str(window.inside),
                num_matching=str(matching),
                checkpoint=bundle_names.last_note(shard),
                complete=Neighbours(before=_text(window.before), after=_text(window.after)),
            )
        )

    def _is_asked_for(self, entry: AskedEntry) -> bool:
        return Question(self.terms.asked).matches(entry.settlement_id, [line.account for line in entry.lines])

    def _matching_lines(self, taken: Sequence[TakenRange]) -> bytes:
        """The entries of the window that match, each ended by LF."""
        window = WindowCount(self.terms.from_ts, self.terms.to_ts)
        kept = []
        for line in (line for one in taken for line in self._entries(one)):
            entry = decode_asked(line)
            if window.take(int(entry.seq), entry.recorded_at) and self._is_asked_for(entry):
                kept.append(line + b"\n")
        return b"".join(kept)

    def _consistency(self, taken: Sequence[TakenRange]) -> bytes:
        """From the trees before the first batch to those behind the last, out of the lines between."""
        first, last = taken[0], taken[-1]
        entries = tree_path(
            first.tree_before,
            last.last_seq,
            (leaf_hash(line) for one in taken for line in self._entries(one)),
        )
        before = first.verdicts_before
        count = before.size + last.next_offset - first.first_offset - (last.last_seq - first.first_seq + 1)
        verdicts = tree_path(before, count, (leaf_hash(line) for one in taken for line in self._verdicts(one)))
        return consistency_bytes(entries, verdicts)

    def _add_range(self, shard: int, one: TakenRange) -> None:
        self.contents[bundle_names.batch_member(shard, one.key)] = partial(self.reader.get, one.key, one.version_id)
        self.contents[bundle_names.manifest_member(shard, one.number)] = lambda: one.manifest
        self.contents[bundle_names.proof_member(shard, one.number)] = lambda: one.proof_line + b"\n"

    def _entries(self, one: TakenRange) -> Iterator[bytes]:
        lines = batch_lines(self.reader.get(one.key, one.version_id))
        return islice(lines, int(parse_metadata(next(lines)).count))

    def _verdicts(self, one: TakenRange) -> Iterator[bytes]:
        lines = batch_lines(self.reader.get(one.key, one.version_id))
        said = parse_metadata(next(lines))
        return islice(lines, int(said.count), int(said.count) + int(said.verdicts))

    def _add_openings(self) -> None:
        if self.openings is not None:
            self.openings.finish()
            self.facts.openings = self.openings.count
            self.contents[bundle_names.OPENINGS] = self.openings.read

    def _add_audit(self) -> None:
        """The exports of the audit chain with an event of the window, and what lies between them."""
        exports: list[tuple[str, str, int]] = []  # key, version, and events where one is of the window
        for stored in self.reader.versions(exports_folder(self.terms.env)):
            if stored.size_bytes < 0:
                continue
            times = [
                AuditEvent.from_json(line).created_at
                for line in batch_lines(self.reader.get(stored.key, stored.version_id))
            ]
            meets = min(times) < parse_time(self.terms.to_ts) and max(times) >= parse_time(self.terms.from_ts)
            exports.append((stored.key, stored.version_id, len(times) if meets else 0))
        meeting = [at for at, (_, _, events) in enumerate(exports) if events]
        for key, version_id, events in exports[meeting[0] : meeting[-1] + 1] if meeting else ():
            self.facts.audit_events += events
            self.contents[bundle_names.audit_member(key)] = partial(self.reader.get, key, version_id)

    def sign(self, signer: PinnedSigner) -> bytes:
        """Add page, sums and statement; the statement's bytes come back."""
        self.facts.shards, self.facts.empty = self.shards, self.empty
        self.facts.keys = [(it.kid, it.algorithm, it.public_key.fingerprint) for it in self.registry.signers]
        readme = page(self.facts)
        self.contents[bundle_names.README] = lambda: readme
        digests = {name: hashlib.sha256(provide()).hexdigest() for name, provide in self.contents.items()}
        sums = bundle_names.sums_of(digests)
        self.contents[bundle_names.SUMS] = lambda: sums
        digests[bundle_names.SUMS] = hashlib.sha256(sums).hexdigest()
        files = tuple(
            BundleFile(path=name, sha256=digests[name], size_bytes=str(len(self.contents[name]())))
            for name in sorted(self.contents)
        )
        payload = BundlePayload(
            says=BUNDLE_SAYS,
            service="finance",
            env=self.terms.env,
            from_ts=self.terms.from_ts,
            to_ts=self.terms.to_ts,
            filter=self.terms.asked,
            pii_included=self.openings is not None,
            pii_policy_version=self.terms.pii_policy_version,
            shards=tuple(self.shards),
            empty_shards=tuple(self.empty),
            ledger_shards=self.terms.ledger_shards,
            files=files,
            prev=None,
            ts=self.newest_ts,
            signer_kid=signer.kid,
            alg=signer.algorithm,
        )
        statement = assemble_bundle(payload, signer.sign_digest(payload.digest()))
        self.contents[bundle_names.STATEMENT] = lambda: statement
        return statement


def _text(seq: int | None) -> str | None:
    return None if seq is None else str(seq)
