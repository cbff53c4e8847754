"""Comparing a checkpoint, whose signature is checked, with the record that it commits to.

Guarantees: log, size, end, entries' root, and count and root of the verdict lines are all compared; only the first
that differs is reported, for the others follow from it. What is not known (None) is not compared.
Does not: check signatures (`ledger_core.verify.statements`), or compare two checkpoints (`ledger_core.tree`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger_core.proving.checkpoint import RecordHead
from ledger_core.tree import CompactRange

FIELDS: Final = {"origin": "origin", "size": "tree_size", "root": "root", "verdicts": "verdicts"}


@dataclass(frozen=True, slots=True)
class RecordEnd:
    """A shard's record up to one offset, as entries and verdict lines give it."""

    env: str  # environment, such as prod
    shard: int  # whose record it is
    size: int  # entries 1..size
    next_offset: int  # settlements offset where the record ends, exclusive
    root: str | None  # Merkle root of the entries, lower-case hex
    verdicts: CompactRange | None  # tree of the verdict lines


def difference(origin: str, size: int, root: bytes, record: RecordHead, expected: RecordEnd) -> tuple[str, str] | None:
    """The first thing that a checkpoint's text says otherwise, as a key of `FIELDS` and a message; None: it agrees."""
    if not origin.endswith(f"/finance/{expected.env}/ledger/{expected.shard}"):
        return "origin", f"the checkpoint is of {origin}, not of shard {expected.shard} of {expected.env}"
    if (size, record.next_offset) != (expected.size, expected.next_offset):
        message = f"the checkpoint is of size {size} and ends at offset {record.next_offset}, the record is of size"
        return "size", f"{message} {expected.size} and ends at offset {expected.next_offset}"
    if expected.root is not None and root.hex() != expected.root:
        return "root", f"the checkpoint's root is {root.hex()}, the entries give {expected.root}"
    verdicts = expected.verdicts
    if verdicts is not None and (record.verdict_count, record.verdict_root) != (verdicts.size, verdicts.root()):
        message = f"the checkpoint has {record.verdict_count} verdict lines of root {record.verdict_root.hex()}, the"
        return "verdicts", f"{message} record has {verdicts.size} of root {verdicts.root().hex()}"
    return None
