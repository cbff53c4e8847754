"""The tree against the recursive definition of RFC 6962, and proofs that hold exactly for what is so."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_core.tree import (
    EMPTY_ROOT,
    CompactRange,
    consistency_onwards,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    leaf_hashes,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(b"%d" % number) for number in range(130)]


def naive(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(naive(leaves[:split]), naive(leaves[split:]))


@given(st.lists(st.integers(0, 40), max_size=6))
def test_root_is_that_of_the_definition_however_the_leaves_came(sizes: list[int]) -> None:
    tree, taken = CompactRange(), 0
    one_by_one = CompactRange()
    for size in sizes:
        part = [leaf_hash(b"%d" % number) for number in range(taken, taken + size)]
        tree = tree.extend(part)
        for leaf in part:
            one_by_one = one_by_one.append(leaf)
        taken += size
    leaves = [leaf_hash(b"%d" % number) for number in range(taken)]
    assert tree == one_by_one
    assert tree.root() == naive(leaves) == root_of(leaves)
    assert CompactRange.from_bytes(taken, tree.to_bytes()) == tree


@given(st.integers(1, 130), st.data())
def test_inclusion_is_provable_and_only_what_is_included(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root, proof = naive(LEAVES[:size]), inclusion_proof(LEAVES, index, size)
    verify_inclusion(LEAVES[index], index, size, proof, root)
    other = data.draw(st.integers(0, 129).filter(lambda number: number != index))
    with pytest.raises(ValueError, match="root"):
        verify_inclusion(LEAVES[other], index, size, proof, root)
    with pytest.raises(ValueError, match=r"inclusion|leaf"):
        verify_inclusion(LEAVES[index], other, size, proof, root)
    with pytest.raises(ValueError, match="inclusion"):
        verify_inclusion(LEAVES[index], index, size, (*proof, LEAVES[0]), root)
    if proof:
        with pytest.raises(ValueError, match="inclusion"):
            verify_inclusion(LEAVES[index], index, size, proof[:-1], root)


@given(st.integers(0, 130), st.integers(0, 130), st.data())
def test_consistency_is_provable_and_a_rewritten_history_is_not(one: int, two: int, data: st.DataObject) -> None:
    old, size = min(one, two), max(one, two)
    old_root, root = naive(LEAVES[:old]), naive(LEAVES[:size])
    proof = consistency_proof(LEAVES, old, size)
    verify_consistency(old, size, old_root, root, proof)
    if old:
        changed = data.draw(st.integers(0, old - 1))
        forged = [*LEAVES[:changed], leaf_hash(b"forged"), *LEAVES[changed + 1 : size]]
        forged_proof = consistency_proof(forged, old, size)
        with pytest.raises(ValueError, match=r"root|history"):
            verify_consistency(old, size, old_root, naive(forged), forged_proof)
    with pytest.raises(ValueError, match=r"consistency|root|shrink"):
        verify_consistency(old, size, old_root, root, (*proof, LEAVES[0]))
    if proof:
        with pytest.raises(ValueError, match="consistency"):
            verify_consistency(old, size, old_root, root, proof[:-1])


def test_vectors_of_certificate_transparency() -> None:
    """The test vectors of the reference implementation of RFC 6962 (google/certificate-transparency)."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    leaves = leaf_hashes(bytes.fromhex(text) for text in inputs)
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaves[0].hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root_of(leaves[:2]).hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert root_of(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_a_compact_range_of_another_size_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="perfect subtrees"):
        CompactRange(3, (EMPTY_ROOT,))
    with pytest.raises(ValueError, match="32"):
        CompactRange(1, (b"short",))
    with pytest.raises(ValueError, match="whole number"):
        CompactRange.from_bytes(1, b"x" * 33)


def test_a_consistency_proof_needs_the_old_subtrees_and_later_leaves_alone() -> None:
    for old_size in range(70):
        old = CompactRange().extend(LEAVES[:old_size])
        for size in range(old_size, 70):
            later = iter(LEAVES[old_size:size])
            assert consistency_onwards(old, size, later) == consistency_proof(LEAVES, old_size, size)
            assert next(later, None) is None or old_size == 0


@given(st.integers(1, 100), st.integers(1, 30), st.data())
def test_a_consistency_proof_of_too_few_leaves_is_none(old_size: int, more: int, data: st.DataObject) -> None:
    old = CompactRange().extend(LEAVES[:old_size])
    given = data.draw(st.integers(0, more - 1))
    with pytest.raises(ValueError, match="missing"):
        consistency_onwards(old, old_size + more, LEAVES[old_size : old_size + given])


def test_a_long_stretch_is_read_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger_core.tree.LEAVES_AT_ONCE", 7)
    old = CompactRange().extend(LEAVES[:5])
    assert consistency_onwards(old, 130, iter(LEAVES[5:])) == consistency_proof(LEAVES, 5, 130)
    with pytest.raises(ValueError, match="does not shrink"):
        consistency_onwards(old, 4, [])
