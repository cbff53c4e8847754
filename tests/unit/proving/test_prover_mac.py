"""A prover whose key is a MAC key: what it signs, what the cosigner says beside it, and what is recorded of that."""

from __future__ import annotations

import dataclasses

import pytest

from ledger_core.errors import SignerRefused
from ledger_core.proving import checkpoint
from ledger_core.proving.range_proof import parse_proof
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.oracle import verify_proof
from tests.simulator.faults import Faults
from tests.simulator.proving import MemoryProofs, MemorySigner
from tests.support.journal_factory import TinyShard
from tests.support.mac_key import MacSecret
from tests.support.prover_runs import Bench
from tests.support.signing import signer_set
from tests.unit.proving.test_prover import LIMITS

MAC = MacSecret()


def prover(cosigner: MemorySigner | None, waiver: str | None = None) -> Bench:
    """A prover whose key is a MAC key, run to its end."""
    bench = Bench(MemoryProofs({0: TinyShard().post(12)}), LIMITS)
    bench.signer, bench.cosigner, bench.mac_waiver = MAC, cosigner, waiver
    beside = [] if cosigner is None else list(cosigner.registry.signers)
    bench.registry = SignerRegistry([*MAC.registry.signers, *beside]).asking(MAC.ask)
    bench.run()
    return bench


def test_a_prover_signs_with_the_mac_and_the_cosigner_says_the_rest() -> None:
    cosigner = MemorySigner(Faults(), "second")
    bench = prover(cosigner, "Ada: it is for ourselves")
    for_strangers = SignerRegistry([*MAC.registry.signers, *cosigner.registry.signers])
    assert len(bench.world.proofs) == 3
    for data in bench.world.proofs.values():
        proof = parse_proof(data)
        assert (proof.alg, proof.signer_kid) == ("hmac-sha256", MAC.kid)
        assert [it.signer_kid for it in proof.cosignatures or ()] == [cosigner.kid]
        ours, theirs = verify_proof(data, bench.registry), verify_proof(data, for_strangers)
        assert (ours.sound, ours.counts) == (True, {"proofs": 1, "macs_checked": 1, "signatures": 1})
        assert (theirs.sound, theirs.counts) == (True, {"proofs": 1, "signatures": 1, "macs_unchecked": 1})
    for note in bench.world.checkpoints.values():
        assert [line.key_name for line in checkpoint.parse(note).signatures] == [cosigner.kid]
        checkpoint.parse_and_verify(note, for_strangers)
    assert not any("mac_waiver" in intent.payload for intent in bench.world.intents), "these are cosigned"


def test_a_cosigner_of_checkpoints_alone_leaves_the_waiver_with_each_proof() -> None:
    cosigner = MemorySigner(Faults(), "second")
    only = dataclasses.replace(cosigner.registry.signers[0], signs=frozenset({"checkpoint"}))
    bench = Bench(MemoryProofs({0: TinyShard().post(12)}), LIMITS)
    bench.signer, bench.cosigner, bench.mac_waiver = MAC, cosigner, "Ada: it is for ourselves"
    bench.registry = SignerRegistry([*MAC.registry.signers, only]).asking(MAC.ask)
    bench.run()
    assert all(not parse_proof(data).cosignatures for data in bench.world.proofs.values())
    assert len(bench.world.checkpoints) == 3
    published = [it.payload for it in bench.world.intents if it.event_type == "proof.published"]
    assert [it["mac_waiver"] for it in published] == ["Ada: it is for ourselves"] * 3


def test_a_prover_without_a_key_for_checkpoints_publishes_nothing() -> None:
    with pytest.raises(SignerRefused, match="no other key of this process does"):
        prover(None)


def test_after_the_way_back_the_current_key_says_what_the_mac_cannot() -> None:
    """Rotated from the MAC key to a public one: what was written down for the MAC still gets its checkpoint."""
    current, cosigner = MemorySigner(Faults(), "second"), MemorySigner(Faults(), "third")
    keys = [*MAC.registry.signers, *current.registry.signers, *cosigner.registry.signers]
    registry = SignerRegistry(keys).asking(MAC.ask)
    with signer_set(current, registry, others=[MAC]).attempt_cosign(MAC.kid) as beside:
        assert [it.kid for it in beside] == [current.kid]
    with signer_set(current, registry, others=[MAC]).attempt_cosign(current.kid) as beside:
        assert beside == ()
    with signer_set(current, registry, others=[MAC], cosigner=cosigner).attempt_cosign(MAC.kid) as beside:
        assert [it.kid for it in beside] == [cosigner.kid]
    with signer_set(MAC, registry).attempt_cosign(MAC.kid) as beside:
        assert beside == ()
