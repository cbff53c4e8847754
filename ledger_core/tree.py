"""The Merkle tree of a shard: RFC 6962 (RFC 9162, section 2.1), leaf prefix 0x00 and node prefix 0x01.

Guarantees: `CompactRange` holds the roots of the perfect subtrees of `size` leaves, left to right (at most 64
hashes), which is all that is needed to grow the tree, to know its root, and to prove (with the leaves that came later)
that a larger one continues it; the verifying functions follow the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2,
and raise ValueError when a proof is wrong. It does not store leaves: whoever wants a proof brings the leaf hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self

_sha256 = hashlib.sha256
_LEAF: Final = _sha256(b"\x00")
_NODE: Final = _sha256(b"\x01")
EMPTY_ROOT: Final = _sha256(b"").digest()
HASH_BYTES: Final = 32
LEAVES_AT_ONCE: Final = 4096


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one leaf: SHA256(0x00 || entry)."""
    return _sha256(b"\x00" + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """`leaf_hash` of many entries in order."""
    hashes: list[bytes] = []
    fresh = _LEAF.copy  # a tenth faster than a hash of prefix and entry joined
    for entry in entries:
        leaf = fresh()
        leaf.update(entry)
        hashes.append(leaf.digest())
    return hashes


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA256(0x01 || left || right)."""
    return _sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class CompactRange:
    """The tree over leaves [0, size): one hash for each one-bit of `size`, the biggest subtree first.

    Raises ValueError when the number or the length of the hashes does not fit `size`.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()  # 32 bytes each

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise ValueError(f"a tree of {self.size} leaves has not {len(self.hashes)} perfect subtrees")
        if any(len(digest) != HASH_BYTES for digest in self.hashes):
            raise ValueError(f"a subtree root has {HASH_BYTES} bytes")

    def append(self, leaf: bytes) -> CompactRange:
        """The tree with one more leaf hash."""
        hashes = list(self.hashes)
        size = self.size
        while size & 1:
            leaf = node_hash(hashes.pop(), leaf)
            size >>= 1
        hashes.append(leaf)
        return CompactRange(self.size + 1, tuple(hashes))

    def extend(self, leaves: Iterable[bytes]) -> CompactRange:
        """The tree with many more leaf hashes: level by level, so that the work per hash is one line."""
        row = list(leaves)
        grown = self.size + len(row)
        left = list(self.hashes)  # its last one is the smallest subtree
        below: list[bytes] = []  # subtree roots of the new tree, smallest first
        size = self.size
        while row or size:
            if size & 1:
                row.insert(0, left.pop())
            if len(row) & 1:
                below.append(row.pop())
            pairs = iter(row)
            row = _parents(zip(pairs, pairs, strict=True))
            size >>= 1
        return CompactRange(grown, tuple(reversed(below)))

    def root(self) -> bytes:
        """The tree's root: the subtrees folded from the smallest up (RFC 9162, section 2.1.1)."""
        if not self.hashes:
            return EMPTY_ROOT
        digest = self.hashes[-1]
        for left in self.hashes[-2::-1]:
            digest = node_hash(left, digest)
        return digest

    def to_bytes(self) -> bytes:
        """The hashes joined, left to right; the size is kept beside them."""
        return b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> Self:
        """The inverse of `to_bytes`. Raises ValueError when `data` does not fit `size`."""
        if len(data) % HASH_BYTES:
            raise ValueError(f"a compact range is a whole number of {HASH_BYTES}-byte hashes, not {len(data)} bytes")
        return cls(size, tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)))


def _parents(pairs: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    hashes: list[bytes] = []
    fresh = _NODE.copy
    for left, right in pairs:
        node = fresh()
        node.update(left + right)
        hashes.append(node.digest())
    return hashes


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    return CompactRange().extend(leaves).root()


def inclusion_proof(leaves: Sequence[bytes], index: int, size: int) -> tuple[bytes, ...]:
    """The audit path of leaf `index` (from 0) in the tree of the first `size` leaves: PATH of RFC 9162, 2.1.3.1. Raises
    ValueError when there is no such leaf.
    """
    if not 0 <= index < size <= len(leaves):
        raise ValueError(f"no leaf {index} in a tree of {size} over {len(leaves)} leaves")
    path, _, _ = _path(leaves, index, size, to_leaf=True)
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise ValueError unless `proof` shows leaf hash `leaf` at `index` under `root` (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    node, last, digest = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ValueError("the inclusion proof is too long")
        if node & 1 or node == last:
            digest = node_hash(sibling, digest)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            digest = node_hash(digest, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise ValueError("the inclusion proof is too short")
    if digest != root:
        raise ValueError("the inclusion proof leads to another root")


def consistency_proof(leaves: Sequence[bytes], old_size: int, size: int) -> tuple[bytes, ...]:
    """That the tree of `old_size` is a prefix of the tree of `size`: PROOF of RFC 9162, section 2.1.4.1. Raises
    ValueError when there are no such trees.
    """
    if not 0 <= old_size <= size <= len(leaves):
        raise ValueError(f"no trees of {old_size} and {size} over {len(leaves)} leaves")
    if old_size in (0, size):
        return ()
    path, first, last = _path(leaves, old_size - 1, size, to_leaf=False)
    if first:  # else the subtree is the whole old tree, whose root the verifier knows
        path.append(root_of(leaves[first:last]))
    return tuple(reversed(path))


def consistency_onwards(old: CompactRange, size: int, later: Iterable[bytes]) -> tuple[bytes, ...]:
    """`consistency_proof(leaves, old.size, size)` from the old tree's subtrees and the `size - old.size` later leaves.

    The walk is that of `verify_consistency`: what stands to the left of it are subtrees of the old tree, what stands to
    the right begins where that ends. `later` is read as a stream. Raises ValueError when it is too short.
    """
    if old.size > size:
        raise ValueError(f"a tree does not shrink: {old.size} to {size}")
    if old.size in (0, size):
        return ()
    left, rest, at = list(old.hashes), iter(later), old.size
    path = [left.pop()] if len(left) > 1 else []  # a whole subtree is the old root, which the verifier knows
    node, last = old.size - 1, size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    while last:
        if node & 1 or node == last:
            path.append(left.pop())
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            end = min(at + (at & -at), size)
            path.append(_root_of_next(rest, end - at))
            at = end
        node >>= 1
        last >>= 1
    return tuple(path)


def old_subtrees(old_size: int, size: int, old_root: bytes, proof: Sequence[bytes]) -> CompactRange:
    """The old tree's subtrees, out of a proof that `verify_consistency` passed: its left siblings are all of them. So
    whoever holds the proof and the later leaves computes every root in between. Raises ValueError where the sizes are
    equal and the proof, which is empty then, does not hold them."""
    if old_size == 0 or old_size & (old_size - 1) == 0:
        return CompactRange(old_size, (old_root,) if old_size else ())
    if old_size == size:
        raise ValueError("an empty proof contains no subtrees")
    left, node, last = [proof[0]], old_size - 1, size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    for sibling in proof[1:]:
        if node & 1 or node == last:
            left.append(sibling)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        node >>= 1
        last >>= 1
    return CompactRange(old_size, tuple(reversed(left)))


def verify_consistency(old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Raise ValueError unless `proof` shows that `root` only appended to `old_root` (RFC 9162, section 2.1.4.2)."""
    if not 0 <= old_size <= size:
        raise ValueError(f"a tree does not shrink: {old_size} to {size}")
    if old_size in (0, size):
        expected = EMPTY_ROOT if old_size == 0 else root
        if proof:
            raise ValueError("the consistency proof is too long")
        if old_root != expected:
            raise ValueError(f"the root at size {old_size} is another one")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise ValueError("the consistency proof is too short")
    node, last = old_size - 1, size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old_digest = digest = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ValueError("the consistency proof is too long")
        if node & 1 or node == last:
            old_digest = node_hash(sibling, old_digest)
            digest = node_hash(sibling, digest)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            digest = node_hash(digest, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise ValueError("the consistency proof is too short")
    if old_digest != old_root or digest != root:
        raise ValueError("the consistency proof leads to other roots: the history was rewritten")


def _root_of_next(leaves: Iterator[bytes], count: int) -> bytes:
    tree = CompactRange()
    while tree.size < count:
        grown = tree.extend(islice(leaves, min(LEAVES_AT_ONCE, count - tree.size)))
        if grown.size == tree.size:
            raise ValueError(f"{count - tree.size} leaves are missing")
        tree = grown
    return tree.root()


def _path(leaves: Sequence[bytes], index: int, size: int, *, to_leaf: bool) -> tuple[list[bytes], int, int]:
    """From the root down towards leaf `index`: the sibling roots met, and where the last subtree begins and ends.

    Ends at the leaf itself (`to_leaf`), or already at the first subtree whose last leaf it is.
    """
    path: list[bytes] = []
    first, last = 0, size
    while last - first > 1 and (to_leaf or last != index + 1):
        middle = first + _split(last - first)
        if index < middle:
            path.append(root_of(leaves[middle:last]))
            last = middle
        else:
            path.append(root_of(leaves[first:middle]))
            first = middle
    return path, first, last


def _split(size: int) -> int:
    """The largest power of two below `size` (size >= 2)."""
    return 1 << ((size - 1).bit_length() - 1)
