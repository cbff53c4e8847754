"""Checking one audit batch: gzip or plain JSON lines, in one streaming pass.

Guarantees: every line is accounted for: metadata, `count` entries, `verdicts` verdict lines, the range proof, and
nothing after it; entries and verdicts are recomputed against the proof, the proof against the registry, the metadata
against the proof. Memory is bounded by one block and one range's hashes, whatever the gzip claims to hold. It does
not know what came before unless a position says so: see `verify_archive`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from ledger_core.archive.batch import BatchMetadata, metadata_of, parse_metadata
from ledger_core.archive.lines import line_blocks
from ledger_core.books.entries import EntryFields
from ledger_core.findings import Collector
from ledger_core.posting.verdicts import VerdictLine
from ledger_core.proving.range_proof import RangeProof
from ledger_core.signing.registry import SignerRegistry
from ledger_core.tree import CompactRange
from ledger_core.verify.event_ids import pack_ids
from ledger_core.verify.range_tally import Position, RangeTally
from ledger_core.verify.references import REVERSES_KEY, duplicates, rejections, reversals
from ledger_core.verify.statements import Alone, check_proof


@dataclass(slots=True)
class BatchLines:
    """The lines of a batch, for whoever does more with them than check them: a rebuild."""

    bodies: list[bytes] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    entries: list[EntryFields | None] = field(default_factory=list)
    verdict_lines: list[bytes] = field(default_factory=list)
    verdicts: list[VerdictLine] = field(default_factory=list)


@dataclass(slots=True)
class BatchFacts:
    """What a batch turned out to be. `sha256` and `size_bytes` are of the uncompressed lines: its identity.

    `event_ids` and `references` are packed (`ledger_core.verify.event_ids`, `ledger_core.verify.references`); `lines`
    are kept when they were asked for, and the packed ones then are not.
    """

    sha256: str
    size_bytes: int
    metadata: BatchMetadata | None
    proof: RangeProof | None
    proof_line: bytes
    event_ids: bytes
    references: bytes
    lines: BatchLines | None


def check_batch(
    data: bytes,
    registry: SignerRegistry,
    found: Collector,
    position: Position | None = None,
    *,
    keep_lines: bool = False,
    alone: Alone | None = None,
) -> BatchFacts:
    """Check a stored batch; `position` (moved behind it) says what came before, None that nothing is known of that.
    `alone`: see `check_proof`."""
    reader = _BatchReader(registry, found, position, BatchLines() if keep_lines else None, alone)
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        for block in line_blocks(data):
            digest.update(block)
            size_bytes += len(block)
            reader.take(block)
    except ValueError as error:
        found.add("batch.form", str(error), field="data")
    reader.finish()
    found.count("batches")
    return BatchFacts(
        digest.hexdigest(),
        size_bytes,
        reader.metadata,
        reader.proof,
        reader.proof_line or b"",
        b"".join(reader.event_ids),
        b"".join(reader.references),
        reader.kept,
    )


@dataclass(slots=True)
class _BatchReader:
    """Which line comes next: metadata, entries, verdicts, proof, end."""

    registry: SignerRegistry
    found: Collector
    position: Position | None
    kept: BatchLines | None = None
    alone: Alone | None = None
    metadata: BatchMetadata | None = None
    proof: RangeProof | None = None
    proof_line: bytes | None = None
    event_ids: list[bytes] = field(default_factory=list)
    references: list[bytes] = field(default_factory=list)
    _tally: RangeTally | None = None
    _entries_left: int = 0
    _verdicts_left: int = 0
    _lines_beyond: int = 0
    _unread: bool = field(default=False)

    def take(self, block: bytes) -> None:
        """Take the next whole lines."""
        lines = block.split(b"\n")
        lines.pop()  # every line is ended by LF
        at = 0
        if self._tally is None:
            if self._unread:
                return
            self._open(lines[0])
            at = 1
        tally = self._tally
        if tally is None:
            return
        if self._entries_left:
            whole = at == 0 and len(lines) <= self._entries_left
            part = lines if whole else lines[at : at + self._entries_left]
            self._take_entries(tally, part, block if whole else b"\n".join(part) + b"\n")
            self._entries_left -= len(part)
            at += len(part)
        if self._verdicts_left and at < len(lines):
            part = lines[at : at + self._verdicts_left]
            tally.add_verdicts(part)
            if self.kept is not None:
                self.kept.verdict_lines, self.kept.verdicts = tally.verdict_lines, tally.verdicts
            self._verdicts_left -= len(part)
            at += len(part)
        if at < len(lines) and self.proof_line is None:
            self.proof_line = lines[at]
            at += 1
        self._lines_beyond += len(lines) - at

    def _take_entries(self, tally: RangeTally, lines: list[bytes], data: bytes) -> None:
        if self.kept is None:
            tally.add_entries(lines, data)
            self.event_ids.append(pack_ids(lines))
            if REVERSES_KEY in data:
                self.references.append(reversals(lines, tally.position.seq - len(lines) + 1))
            return
        block, hashes = tally.add_entries(lines)
        self.kept.bodies += lines
        self.kept.hashes += hashes
        self.kept.entries += block.entries

    def finish(self) -> None:
        """After the last line: is everything there, and does the proof say what was read?"""
        tally, metadata = self._tally, self.metadata
        if tally is None or metadata is None:
            if not self._unread:
                self.found.add("batch.form", "an empty batch: not even a metadata line", field="metadata")
            return
        missing = self._entries_left + self._verdicts_left
        if missing:
            self.found.add("batch.lines", f"{missing} lines are missing of those the metadata counts", field="count")
        if self._lines_beyond:
            self.found.add("batch.lines", f"{self._lines_beyond} lines after the proof", field="proof")
        if self.proof_line is None:
            self.found.add("batch.proof", "the last line, the range proof, is missing", field="proof")
            return
        self.proof = check_proof(self.proof_line, self.registry, self.found, seq=tally.position.seq, alone=self.alone)
        if self.proof is None:
            return
        if len(self.proof.shards) != 1:
            self.found.add("batch.proof", "the proof of a batch speaks of exactly one shard", field="shards")
            return
        part = self.proof.shards[0]
        tally.compare(self.proof, part)
        if self.kept is None and not len(self.found):  # else it is not a sound range, and its entries are not known
            for of_kind in (duplicates, rejections):
                self.references.append(of_kind(tally.verdicts, tally.offsets, tally.first_seq))
        tally.position.follow(self.proof.hash, part)
        self._compare_metadata(metadata, self.proof)

    def _open(self, line: bytes) -> None:
        try:
            self.metadata = metadata = parse_metadata(line)
        except ValueError as error:
            self._unread = True
            self.found.add("batch.metadata", f"the first line is not batch metadata: {error}", field="metadata")
            return
        self._entries_left, self._verdicts_left = int(metadata.count), int(metadata.verdicts)
        position = self.position if self.position is not None else _alone(metadata)
        for name, said, wanted in (
            ("shard", metadata.shard, position.shard),
            ("first_seq", metadata.first_seq, str(position.seq + 1)),
        ):
            if said != wanted:
                message = f"the batch says {name} {said}, the history before it goes on with {wanted}"
                self.found.add("batch.gap", message, shard=position.shard, seq=position.seq, field=name)
        if position.seq != int(metadata.first_seq) - 1:
            position.jump(int(metadata.first_seq) - 1, metadata.prev_hash)
        if position.head is None:  # lost with what came before: the claim is taken, and the signed proof must repeat it
            position.head = bytes.fromhex(metadata.prev_hash or "")
        self._tally = RangeTally(position, self.found)

    def _compare_metadata(self, metadata: BatchMetadata, proof: RangeProof) -> None:
        policy = metadata.pii_policy_version
        wanted = metadata_of(proof, pii_included=metadata.pii_included, pii_policy_version=policy)
        for name in BatchMetadata.__struct_fields__:
            said, expected = getattr(metadata, name), getattr(wanted, name)
            if said != expected:
                self.found.add("batch.metadata", f"says {name} {said}, the proof {expected}", field=name)


def _alone(metadata: BatchMetadata) -> Position:
    """The position before a batch that is checked on its own: its own claim, which the signed proof must repeat.

    The tree before a later batch cannot be claimed by it, so its root stays unchecked (and is counted so).
    """
    first = int(metadata.first_seq)
    head = b"" if metadata.prev_hash is None else bytes.fromhex(metadata.prev_hash)
    tree = CompactRange() if first == 1 else None
    return Position(metadata.shard, first - 1, head, tree)
