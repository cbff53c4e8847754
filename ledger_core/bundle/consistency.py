"""consistency.json of a shard in a bundle: the trees behind the last batch continue those before the first. Pure.

    {"from_size":"8","path":["..."],"to_size":"16","verdicts":{"from_size":"2","path":[],"to_size":"4"}}

Guarantees: both trees of a checkpoint, that of the entries and that of the verdict lines, have a proof (RFC 9162,
2.1.4) in one spelling. `proved` gives the proof and, where it holds them, the subtrees of the first tree: with these
whoever reads the lines in between recomputes every root.
Does not: know the roots: they come from the two checkpoints alone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

import msgspec

from ledger_core.hashes import parse_base64_hash
from ledger_core.signing.statements import Decimal, StatementPart, decode_statement, encode_statement
from ledger_core.tree import CompactRange, consistency_onwards, old_subtrees, verify_consistency


class TreePath(StatementPart, frozen=True, kw_only=True):
    """That one tree continues another."""

    from_size: Decimal  # leaves before the first batch
    to_size: Decimal  # leaves up to the end of the last batch
    path: tuple[str, ...]  # hashes, base64


class ConsistencyFile(StatementPart, frozen=True, kw_only=True):
    """The member: the entries' tree, and beside it that of the verdict lines."""

    from_size: Decimal  # entries before the first batch
    to_size: Decimal  # entries up to the end of the last batch
    path: tuple[str, ...]  # hashes, base64
    verdicts: TreePath  # the same of the verdict lines

    @property
    def entries(self) -> TreePath:
        """What it says of the entries alone."""
        return TreePath(from_size=self.from_size, to_size=self.to_size, path=self.path)


_decoder = msgspec.json.Decoder(ConsistencyFile)


def parse_consistency(data: bytes) -> ConsistencyFile:
    """Canonical JSON (one LF at the end is allowed). Raises ValueError."""
    return decode_statement(data.removesuffix(b"\n"), _decoder)


def tree_path(old: CompactRange, size: int, later: Iterable[bytes]) -> TreePath:
    """From the tree before and the leaf hashes behind it; `later` is read as a stream."""
    path = tuple(base64.b64encode(digest).decode("ascii") for digest in consistency_onwards(old, size, later))
    return TreePath(from_size=str(old.size), to_size=str(size), path=path)


def consistency_bytes(entries: TreePath, verdicts: TreePath) -> bytes:
    """The member's bytes."""
    said = ConsistencyFile(from_size=entries.from_size, to_size=entries.to_size, path=entries.path, verdicts=verdicts)
    return encode_statement(said) + b"\n"


def proved(said: TreePath, old_root: bytes, root: bytes) -> CompactRange | None:
    """The first tree's subtrees; None where the sizes are equal and the proof, which is empty then, does not hold them.
    Raises ValueError when it proves nothing of these two roots."""
    first, size = int(said.from_size), int(said.to_size)
    path = [parse_base64_hash(text) for text in said.path]
    verify_consistency(first, size, old_root, root, path)
    if first == size and first & (first - 1):
        return None
    return old_subtrees(first, size, old_root, path)
