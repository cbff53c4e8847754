"""Checking closed ranges, their proofs and checkpoints against what a shard's entries add up to.

Guarantees: the row of a range, its unsigned payload, its tree, its note text, its signed proof and its checkpoint say
one thing, and that is what was recomputed. After a contradiction the next range is checked on the signed word of this
one, so one edited row does not make all later ranges findings. Checkpoints are read beside the ranges, in order of
their offset: memory does not grow with either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ledger_core.findings import Collector
from ledger_core.proving.checkpoint import RecordHead, parse_record_text
from ledger_core.proving.range_proof import ProofPayload, ShardRange, parse_payload
from ledger_core.signing.pinned_heads import PinnedHeads
from ledger_core.signing.registry import SignerRegistry
from ledger_core.tree import CompactRange
from ledger_core.verify.checkpoint_check import FIELDS, RecordEnd, difference
from ledger_core.verify.ledger_rows import RangeRow
from ledger_core.verify.range_tally import END, Position, RangeTally
from ledger_core.verify.statements import check_note, check_proof


@dataclass(slots=True)
class RangeChecks:
    """The closed ranges of one shard, in order."""

    shard: int
    registry: SignerRegistry
    found: Collector
    range_no: int = 0
    unsigned: int | None = None  # the first range without a proof
    checkpoints: Iterator[tuple[int, bytes]] = field(default_factory=lambda: iter(()))  # (next offset, note), in order
    pinned: PinnedHeads = field(init=False)
    _next: tuple[int, bytes] | None = field(init=False)  # the checkpoint to be compared next

    def __post_init__(self) -> None:
        self.pinned = PinnedHeads(self.registry, self.shard)
        self._next = next(self.checkpoints, None)

    def check(self, row: RangeRow, tally: RangeTally, *, whole: bool) -> None:
        """Check one range whose entries and verdicts `tally` has seen (`whole`: none was missing)."""
        found, position = self.found, tally.position
        if row.range_no != self.range_no + 1:
            found.add("ledger.range", f"stands after range {self.range_no}", seq=row.first_seq, field="range_no")
        self.range_no = row.range_no
        try:
            payload = parse_payload(row.payload)
            if len(payload.shards) != 1:
                raise ValueError("a closed range speaks of one shard")
        except ValueError as error:
            found.add(
                "ledger.range", f"its payload is not that of a range proof: {error}", seq=row.last_seq, field="payload"
            )
            position.jump(row.last_seq, row.head_hash.hex() if row.head_hash else None)
            position.next_offset = row.next_offset
            return
        part = payload.shards[0]
        self._compare_columns(row, payload, part)
        if whole:
            tally.compare(payload, part)
        root = position.tree.root().hex() if position.tree is not None else part.root
        end = RecordEnd(payload.env, self.shard, row.last_seq, row.next_offset, root, position.verdicts)
        record = self._compare_texts(row, position, end)
        self._check_proof(row)
        self._check_checkpoint(row, end)
        position.follow(payload.digest().hex(), part)
        self.pinned.passed(row.last_seq, part.head_hash)
        self._recover_tree(row, position, part, record)

    def finish(self, seq: int) -> None:
        """Every proved range has its checkpoint and nothing else has, and the history leads to the pinned heads. It
        ends at `seq`."""
        self._check_strays(END)
        self.pinned.finish(seq, self.found)

    def _check_checkpoint(self, row: RangeRow, end: RecordEnd) -> None:
        """Check the checkpoint of a range: its signature, the roots that entries and verdicts give, and its text."""
        found, place = self.found, self.found.place
        self._check_strays(row.next_offset)
        if self._next is None or self._next[0] != row.next_offset:
            if row.proof is not None:
                message = "a proved range has no checkpoint"
                found.add("checkpoint.missing", message, seq=row.last_seq, field="next_offset")
            return
        note = self._next[1]
        self._next = next(self.checkpoints, None)
        found.place = f"checkpoint {row.next_offset}"
        kept = check_note(note, self.registry, found, seq=row.last_seq)
        if kept is not None:
            told = difference(kept.origin, kept.size, kept.root, kept.record, end)
            if told is not None:
                found.add(f"checkpoint.{told[0]}", told[1], seq=row.last_seq, field=FIELDS[told[0]])
            elif row.proof is not None and row.checkpoint_text != kept.text:
                message = "the signed text differs from the one written down when the range was closed"
                found.add("checkpoint.text", message, seq=row.last_seq, field="note")
        found.place = place

    def _check_strays(self, end: int) -> None:
        """Checkpoints of offsets below `end` that no range ends at."""
        while self._next is not None and self._next[0] < end:
            place = f"checkpoint {self._next[0]}"
            self.found.add(
                "checkpoint.size", "no range of the ledger ends at this offset", field="next_offset", place=place
            )
            self._next = next(self.checkpoints, None)

    def _compare_columns(self, row: RangeRow, payload: ProofPayload, part: ShardRange) -> None:
        head = row.head_hash.hex() if row.head_hash is not None else None
        for name, said, wanted in (
            ("shard", self.shard, part.shard),
            ("first_seq", str(row.first_seq), part.first_seq),
            ("last_seq", str(row.last_seq), part.last_seq),
            ("first_offset", str(row.first_offset), part.source.first_offset),
            ("next_offset", str(row.next_offset), part.source.next_offset),
            ("head_hash", head, part.head_hash),
            ("hash", row.hash.hex(), payload.digest().hex()),
        ):
            if said != wanted:
                message = f"the row says {said}, its payload {wanted}"
                self.found.add("ledger.range", message, seq=row.last_seq, field=name)

    def _compare_texts(self, row: RangeRow, position: Position, end: RecordEnd) -> RecordHead | None:
        """The stored trees and the note text against the record; what the text says of it, when it can be read."""
        for name, stored, tree in (
            ("tree", row.tree, position.tree),
            ("verdict_tree", row.verdict_tree, position.verdicts),
        ):
            if tree is not None and stored != tree.to_bytes():
                leaves = "entries" if name == "tree" else "verdict lines"
                message = f"the stored tree is not that of the {leaves}"
                self.found.add("ledger.range", message, seq=row.last_seq, field=name)
        try:
            record = parse_record_text(row.checkpoint_text)
        except ValueError as error:
            self.found.add("ledger.range", f"no checkpoint text: {error}", seq=row.last_seq, field="checkpoint_text")
            return None
        told = difference(*record, end)
        if told is not None:
            self.found.add("ledger.range", told[1], seq=row.last_seq, field="checkpoint_text")
        return record[3]

    def _check_proof(self, row: RangeRow) -> None:
        found = self.found
        if row.proof is None:
            self.unsigned = self.unsigned or row.range_no
            found.count("ranges_not_signed_yet")
            return
        if self.unsigned is not None:
            message = f"range {self.unsigned} before it has no proof"
            found.add("ledger.proof_missing", message, seq=row.last_seq, field="proof")
            self.unsigned = None
        proof = check_proof(row.proof, self.registry, found, seq=row.last_seq)
        if proof is not None:
            self.pinned.signed(proof.signer_kid, *(it.signer_kid for it in proof.cosignatures or ()))
        if proof is not None and proof.to_bytes() != row.payload:
            message = "the proof is not of the payload that was written down when the range was closed"
            found.add("ledger.proof", message, seq=row.last_seq, field="payload")

    def _recover_tree(self, row: RangeRow, position: Position, part: ShardRange, record: RecordHead | None) -> None:
        """After a contradiction, go on from the stored trees when they have the roots that were written down."""
        if record is None:
            return
        try:
            tree = CompactRange.from_bytes(row.last_seq, row.tree)
            verdicts = CompactRange.from_bytes(record.verdict_count, row.verdict_tree)
        except ValueError:
            return
        if position.tree is None and tree.root().hex() == part.root:
            position.tree = tree
        if position.verdicts is None and verdicts.root() == record.verdict_root:
            position.verdicts = verdicts
