"""The trees of one shard of a bundle: what stood before the first batch, by two checkpoints and the proof between them.

Guarantees: a checkpoint counts only when a registered key signed it and it is of this log, of the size and offset that
the statement says; a proof only when it leads from the one's roots to the other's, for entries and verdict lines. Where
no leaf lies between them, the roots of every range must be that of both.
Does not: read entries or verdict lines: the walk grows both trees from here (`ledger_core.verify.archive_walk`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ledger_core.archive.bundle_names import consistency_member, first_note, last_note
from ledger_core.bundle.consistency import TreePath, parse_consistency, proved
from ledger_core.bundle.statement import BundleShard
from ledger_core.findings import Collector
from ledger_core.proving.checkpoint import Checkpoint, parse
from ledger_core.signing.registry import SignerRegistry
from ledger_core.tree import EMPTY_ROOT, CompactRange
from ledger_core.verify.archive_walk import VerifiedRange
from ledger_core.verify.checkpoint_check import RecordEnd, difference
from ledger_core.verify.range_tally import FIRST_OFFSET
from ledger_core.verify.statements import check_note

Read = Callable[[str], bytes]  # name of a member -> its bytes; KeyError when it is not there


@dataclass(frozen=True, slots=True)
class FirstTrees:
    """What is known of the shard before its first batch; None: not known, which is a finding or an equal root."""

    entries: CompactRange | None = None  # over the entries before the first batch
    verdicts: CompactRange | None = None  # over the verdict lines before it
    entries_root: bytes | None = None  # of every range, where no entry lies in the batches and the tree is not known
    verdicts_root: bytes | None = None  # likewise of the verdict lines

    def check_unmoved(self, verified: VerifiedRange, found: Collector, place: str) -> None:
        """Find a root of this range that is another one, though no leaf was added."""
        part, listed = verified.proof.shards[0], verified.listed
        if self.entries_root is not None and part.root != self.entries_root.hex():
            message = f"the proof's root is {part.root}, and no entry follows the tree of {self.entries_root.hex()}"
            found.add("range.root", message, seq=int(part.last_seq), field="root", place=place)
        if self.verdicts_root is None or listed is None:
            return
        root = parse(listed.manifest.checkpoint.encode()).record.verdict_root
        if root != self.verdicts_root:
            message = f"the verdicts' root is {root.hex()}, and no line follows the tree of {self.verdicts_root.hex()}"
            found.add("checkpoint.verdicts", message, seq=int(part.last_seq), field="checkpoint", place=place)


def first_trees(read: Read, said: BundleShard, env: str, registry: SignerRegistry, found: Collector) -> FirstTrees:
    """The trees before the first batch."""
    shard, found.place = said.shard, consistency_member(said.shard)
    first_seq, last_seq = int(said.first_seq) - 1, int(said.last_seq)
    first_offset, next_offset = int(said.first_offset), int(said.next_offset)
    try:
        proof = parse_consistency(read(consistency_member(shard)))
    except KeyError:
        return FirstTrees()  # a missing member is a finding of its own
    except ValueError as error:
        found.add("consistency.form", f"not a consistency proof: {error}", field="path")
        return FirstTrees()
    wanted = (
        ("from_size", proof.from_size, first_seq),
        ("to_size", proof.to_size, last_seq),
        ("verdicts.from_size", proof.verdicts.from_size, first_offset - FIRST_OFFSET - first_seq),
        ("verdicts.to_size", proof.verdicts.to_size, next_offset - FIRST_OFFSET - last_seq),
    )
    for name, size, count in wanted:
        if size != str(count):
            found.add("consistency.size", f"says {size}, the bundle {count}", field=name)
            return FirstTrees()
    end = RecordEnd(env, shard, last_seq, next_offset, root=None, verdicts=None)
    last = _note(read, last_note(shard), end, registry, found)
    roots: tuple[bytes, bytes] | None = (EMPTY_ROOT, EMPTY_ROOT)
    if int(said.first_range_no) > 1:
        before = RecordEnd(env, shard, first_seq, first_offset, root=None, verdicts=None)
        first = _note(read, first_note(shard), before, registry, found)
        roots = None if first is None else (first.root, first.record.verdict_root)
    if roots is None or last is None:
        return FirstTrees()
    found.place = consistency_member(shard)
    entries, fixed = _tree("path", proof.entries, roots[0], last.root, found)
    verdicts, verdicts_fixed = _tree("verdicts.path", proof.verdicts, roots[1], last.record.verdict_root, found)
    return FirstTrees(entries, verdicts, fixed, verdicts_fixed)


def _tree(
    name: str, said: TreePath, old_root: bytes, root: bytes, found: Collector
) -> tuple[CompactRange | None, bytes | None]:
    """The first tree, or the root that every range must have."""
    try:
        tree = proved(said, old_root, root)
    except ValueError as error:
        found.add("consistency.path", str(error), field=name)
        return None, None
    found.count("consistency_proofs")
    return tree, old_root if tree is None else None


def _note(read: Read, name: str, end: RecordEnd, registry: SignerRegistry, found: Collector) -> Checkpoint | None:
    """A checkpoint that is signed, of this log, and of this size and offset."""
    found.place = name
    try:
        note = check_note(read(name), registry, found)
    except KeyError:
        return None  # a missing member is a finding of its own
    if note is None:
        return None
    told = difference(note.origin, note.size, note.root, note.record, end)
    if told is None and note.record.first_offset != FIRST_OFFSET:
        told = "size", f"the checkpoint begins at offset {note.record.first_offset}, the ledger at {FIRST_OFFSET}"
    if told is not None:
        found.add(f"checkpoint.{told[0]}", told[1], field="checkpoint")
        return None
    return note
