"""A second signature over the same 32 bytes: it changes no hash, and it must hold when it is there."""

from __future__ import annotations

import json

import pytest

from ledger_core import canonical
from ledger_core.proving import checkpoint
from ledger_core.proving.range_proof import assemble_proof, parse_proof
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import encode_signature
from ledger_core.signing.statements import Cosignature
from ledger_core.verify.oracle import verify_proof
from tests.simulator.faults import Faults
from tests.simulator.proving import MemoryProofs, MemorySigner
from tests.support.journal_factory import TinyShard
from tests.support.prover_runs import Bench
from tests.unit.proving.test_prover import LIMITS

RSA_LIKE = MemorySigner(Faults(), "second")


def cosigned() -> Bench:
    """A prover whose proofs and checkpoints a second key signs too."""
    bench = Bench(MemoryProofs({0: TinyShard().post(12)}), LIMITS)
    bench.cosigner = RSA_LIKE
    bench.registry = SignerRegistry([*bench.registry.signers, *RSA_LIKE.registry.signers])
    bench.run()
    return bench


def test_every_proof_and_checkpoint_carries_both_signatures() -> None:
    bench = cosigned()
    proofs = [parse_proof(data) for data in bench.world.proofs.values()]
    assert len(proofs) == 3
    for proof in proofs:
        assert [it.signer_kid for it in proof.cosignatures or ()] == ["second-ed25519"]
    for data in bench.world.proofs.values():
        report = verify_proof(data, bench.registry)
        assert (report.sound, report.counts["signatures"]) == (True, 2)
    for note in bench.world.checkpoints.values():
        names = [line.key_name for line in checkpoint.parse(note).signatures]
        assert names == ["test-ed25519", "second-ed25519"]
        for registry in (bench.registry, bench.signer.registry, RSA_LIKE.registry):
            checkpoint.parse_and_verify(note, registry)


def test_a_cosignature_is_no_part_of_the_statement() -> None:
    with_it = cosigned()
    without = Bench(MemoryProofs({0: TinyShard().post(12)}), LIMITS)
    without.run()
    for key, data in with_it.world.proofs.items():
        fields = json.loads(data)
        del fields["cosignatures"]
        assert canonical.encode(fields) == without.world.proofs[key]


def changed(data: bytes, cosignatures: object) -> bytes:
    return canonical.encode({**json.loads(data), "cosignatures": cosignatures})


def entry(**changes: str) -> dict[str, str]:
    proof = parse_proof(next(iter(cosigned().world.proofs.values())))
    good = {
        "signer_kid": "second-ed25519",
        "alg": "ed25519",
        "signature": encode_signature(RSA_LIKE.sign_digest(bytes.fromhex(proof.hash))),
    }
    return {**good, **changes}


@pytest.mark.parametrize(
    ("cosignatures", "code"),
    [
        ([entry(signature=encode_signature(RSA_LIKE.sign_digest(bytes(32))))], "proof.cosignature"),
        ([entry(signer_kid="stranger")], "proof.cosignature"),
        ([entry(alg="rsa-sha256")], "proof.cosignature"),
        ([], "proof.form"),
        (None, "proof.form"),
        ([entry(), entry()], "proof.form"),
        ([entry(signer_kid="test-ed25519")], "proof.form"),
        ([entry(signature="%%%")], "proof.form"),
        ([{**entry(), "more": "x"}], "proof.form"),
    ],
)
def test_a_cosignature_that_does_not_hold_is_a_finding(cosignatures: object, code: str) -> None:
    bench = cosigned()
    data = changed(next(iter(bench.world.proofs.values())), cosignatures)
    report = verify_proof(data, bench.registry)
    assert [finding.code for finding in report.findings] == [code]


def test_cosignatures_stand_in_one_order() -> None:
    bench = cosigned()
    proof = parse_proof(next(iter(bench.world.proofs.values())))
    third = MemorySigner(Faults(), "a-third")
    both = tuple(
        Cosignature(
            signer_kid=key.kid, alg="ed25519", signature=encode_signature(key.sign_digest(bytes.fromhex(proof.hash)))
        )
        for key in (RSA_LIKE, third)
    )
    payload = next(closed.payload for closed in bench.world.ranges[0])
    with pytest.raises(ValueError, match="in order of kid"):
        assemble_proof(payload, b"x" * 64, both)
    assert assemble_proof(payload, b"x" * 64, both[::-1])
