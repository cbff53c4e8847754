"""Checking closed ranges, their proofs and checkpoints against what a shard's entries add up to.

Guarantees: the row of a range, its unsigned payload, its tree, its note text, its signed proof and its checkpoint say
one thing, and that is what was recomputed. After a contradiction the next range is checked on the signed word of this
one, so one edited row does not make all later ranges findings. Checkpoints are read beside the ranges, in order of
their size: memory does not grow with either.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field

from ledger_core.findings import Collector
from ledger_core.proving.range_proof import ProofPayload, ShardRange, parse_payload
from ledger_core.signing.pinned_heads import PinnedHeads
from ledger_core.signing.registry import SignerRegistry
from ledger_core.tree import CompactRange
from ledger_core.verify.ledger_rows import RangeRow
from ledger_core.verify.range_tally import Position, RangeTally
from ledger_core.verify.statements import check_note, check_proof


@dataclass(slots=True)
class RangeChecks:
    """The closed ranges of one shard, in order."""

    shard: int
    registry: SignerRegistry
    found: Collector
    range_no: int = 0
    unsigned: int | None = None  # the first range without a proof
    checkpoints: Iterator[tuple[int, bytes]] = field(default_factory=lambda: iter(()))  # (tree size, note) by size
    size: int = -1  # that the newest range reached (one without entries leaves it as it was); -1: no range yet
    root: str | None = None  # there; None: no range reached it
    text: bytes | None = None  # of the note, when a proved range reached it
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
        self._compare_texts(row, position, part)
        self._check_proof(row)
        position.follow(payload.digest().hex(), part)
        self.pinned.passed(row.last_seq, part.head_hash)
        self._recover_tree(row, position, part)

    def finish(self, seq: int) -> None:
        """Every size that a proved range reached has its checkpoint and no other has, and the history leads to the
        pinned heads. It ends at `seq`."""
        self._settle()
        while self._next is not None:
            self._check_checkpoint(*self._next)
            self._next = next(self.checkpoints, None)
        self.pinned.finish(seq, self.found)

    def _settle(self) -> None:
        """No later range ends at the present size, or before it: the checkpoints up to there can be compared."""
        place, noted = self.found.place, False
        while self._next is not None and self._next[0] <= self.size:
            noted |= self._next[0] == self.size
            self._check_checkpoint(*self._next)
            self._next = next(self.checkpoints, None)
        if self.text is not None and not noted:
            self.found.add("checkpoint.missing", "a proved range has no checkpoint", seq=self.size, field="tree_size")
        self.found.place, self.root, self.text = place, None, None

    def _check_checkpoint(self, size: int, note: bytes) -> None:
        """Check one checkpoint: its signature, its size, and the root that the entries give at that size."""
        found = self.found
        found.place = f"checkpoint {size}"
        kept = check_note(note, self.registry, found, seq=size)
        if kept is None:
            return
        if kept.size != size:
            found.add("checkpoint.size", f"the note is of size {kept.size}", seq=size, field="tree_size")
        elif size != self.size or self.root is None:
            found.add("checkpoint.size", "no range of the ledger ends at this size", seq=size, field="tree_size")
        elif kept.root.hex() != self.root:
            message = f"the signed root is {kept.root.hex()}, the entries give {self.root}"
            found.add("checkpoint.root", message, seq=size, field="root")
        elif self.text is not None and self.text != kept.text:
            message = "the signed text differs from the one written down when the range was closed"
            found.add("checkpoint.text", message, seq=size, field="note")

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

    def _compare_texts(self, row: RangeRow, position: Position, part: ShardRange) -> None:
        lines = row.checkpoint_text.split(b"\n")
        root = base64.b64encode(bytes.fromhex(part.root))
        if len(lines) < 4 or lines[1:3] != [part.tree_size.encode(), root]:
            message = "the note text is not of this range's size and root"
            self.found.add("ledger.range", message, seq=row.last_seq, field="checkpoint_text")
        if row.last_seq != self.size or self.root is None:
            self._settle()
            self.size = row.last_seq
        self.root = position.tree.root().hex() if position.tree is not None else part.root
        if position.tree is not None and row.tree != position.tree.to_bytes():
            message = "the stored tree is not that of the entries"
            self.found.add("ledger.range", message, seq=row.last_seq, field="tree")

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
        # A range without entries leaves the tree as it was: the checkpoint of that size is there already.
        self.text = row.checkpoint_text if self.text is None else self.text

    def _recover_tree(self, row: RangeRow, position: Position, part: ShardRange) -> None:
        """After a contradiction, go on from the stored tree when it has the root that was written down and signed."""
        if position.tree is None:
            try:
                tree = CompactRange.from_bytes(row.last_seq, row.tree)
            except ValueError:
                return
            if tree.root().hex() == part.root:
                position.tree = tree
