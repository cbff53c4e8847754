"""The holes that verifiers in the field have, each tried on ours."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from ledger_core import canonical
from ledger_core.audit.events import next_event
from ledger_core.ports import AuditIntent
from ledger_core.proving.range_proof import assemble_proof
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import PublicKey, encode_signature
from ledger_core.signing.statements import Cosignature
from ledger_core.signing.validity import Interval, Validity
from ledger_core.verify.oracle import Report, verify_proof, verify_proof_by_key
from tests.support.archive_factory import Key, closed_of, cut_of
from tests.support.journal_factory import TinyShard

KEY, RSA = Key("ed25519"), Key("rsa-sha256", "test-rsa-v1")


def proof_of(key: Key) -> bytes:
    shard = TinyShard().post(5).silence(1)
    closed = closed_of(cut_of(shard, None, 5, 6), shard, key, 1, None)
    return assemble_proof(closed.payload, key.sign_digest(closed.hash))


PROOF = proof_of(KEY)


def cosigned_by(key: Key) -> bytes:
    shard = TinyShard().post(5).silence(1)
    closed = closed_of(cut_of(shard, None, 5, 6), shard, KEY, 1, None)
    signature = encode_signature(key.sign_digest(closed.hash))
    cosignature = Cosignature(signer_kid=key.kid, alg=key.algorithm, signature=signature)
    return assemble_proof(closed.payload, KEY.sign_digest(closed.hash), (cosignature,))


def altered(**changes: object) -> bytes:
    fields = json.loads(PROOF)
    for name, value in changes.items():
        if value is None and name not in ("prev_proof_hash",):
            fields.pop(name)
        else:
            fields[name] = value
    return canonical.encode(fields)


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def test_a_sound_proof_counts_its_signature() -> None:
    report = verify_proof(PROOF + b"\n", KEY.registry)
    assert report.sound
    assert report.counts == {"proofs": 1, "signatures": 1}


@pytest.mark.parametrize("bad", ["zz", "aa", "", "A" * 64, "0" * 64, " " + "0" * 63, 5, ["0" * 64]])
def test_a_hash_that_is_not_the_recomputed_one_is_found(bad: object) -> None:
    report = verify_proof(altered(hash=bad), KEY.registry)
    assert {"proof.form", "proof.hash"} <= codes(report)
    assert "hash" in {finding.field for finding in report.findings}


def test_signing_one_byte_or_the_text_of_a_hash_does_not_pass() -> None:
    for message in (b"\xaa", json.loads(PROOF)["hash"].encode()):
        forged = base64.b64encode(KEY.private.sign(message)).decode()  # type: ignore[call-arg]
        assert "proof.signature" in codes(verify_proof(altered(signature=forged), KEY.registry))


@pytest.mark.parametrize(
    "changes",
    [
        {"range": {"from_ts": "2025-10-31T00:00:00.000000Z", "to_ts": "2025-11-01T00:00:00.000000Z"}},
        {"ts": "2025-11-03T00:00:00.000000Z"},
        {"env": "production"},
        {"num_rows": "6"},
        {"canonical_message": "anything"},
        {"signature_b64": "AAAA"},
        {"trace_id": None},
        {"prev_proof_hash": "0" * 64},
        {"version": 2},
    ],
)
def test_an_altered_added_or_removed_field_is_found(changes: dict[str, Any]) -> None:
    assert not verify_proof(altered(**changes), KEY.registry).sound


def test_hash_recomputed_by_the_forger_still_lacks_the_signature() -> None:
    fields = json.loads(altered(ts="2025-11-03T00:00:00.000000Z"))
    payload = {name: value for name, value in fields.items() if name not in ("hash", "signature")}
    fields["hash"] = canonical.sha256_hex(canonical.encode(payload))
    assert codes(verify_proof(canonical.encode(fields), KEY.registry)) == {"proof.signature"}


def test_signer_must_be_registered_for_the_algorithm_it_names() -> None:
    assert codes(verify_proof(PROOF, RSA.registry)) == {"proof.signer"}
    same_name = SignerRegistry([RegisteredSigner(KEY.kid, "rsa-sha256", RSA.public)])
    assert codes(verify_proof(PROOF, same_name)) == {"proof.alg", "proof.signature"}
    assert verify_proof(proof_of(RSA), RSA.registry).sound


def test_a_signature_made_after_retirement_is_found_and_older_ones_stand() -> None:
    def registry(retired_at: dt.datetime) -> SignerRegistry:
        return SignerRegistry([RegisteredSigner(KEY.kid, "ed25519", KEY.public, None, retired_at)])

    assert codes(verify_proof(PROOF, registry(dt.datetime(2025, 11, 1, tzinfo=dt.UTC)))) == {"proof.retired"}
    assert verify_proof(PROOF, registry(dt.datetime(2025, 11, 3, tzinfo=dt.UTC))).sound


def test_a_key_with_exponent_three_never_reaches_the_registry() -> None:
    """With e=3 a block that only looks right where a lazy parser reads can be made without the private key."""
    weak = rsa.generate_private_key(3, 2048).public_key()
    with pytest.raises(ValueError, match="forged"):
        RegisteredSigner("weak", "rsa-sha256", PublicKey.from_key(weak))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"{" * 100_000, b'{"hash":1e999}', PROOF * 2]
)
def test_what_is_no_proof_at_all_is_a_finding_and_no_crash(data: bytes) -> None:
    report = verify_proof(data, KEY.registry)
    assert codes(report) >= {"proof.form"}
    assert json.loads(json.dumps(report.to_json()))["sound"] is False


def test_one_key_is_enough_to_say_who_signed() -> None:
    strangers = {
        "ed25519": PublicKey.from_key(ed25519.Ed25519PrivateKey.generate().public_key()),
        "rsa-sha256": PublicKey.from_key(rsa.generate_private_key(65537, 2048).public_key()),
    }
    for key in (KEY, RSA):
        data = proof_of(key)
        report = verify_proof_by_key(data, key.public)
        assert report.sound
        assert report.counts == {"proofs": 1, "signatures": 1}
        other = verify_proof_by_key(data, strangers[key.algorithm])
        assert [finding.code for finding in other.findings] == ["proof.signature"]
    assert verify_proof_by_key(PROOF, RSA.public).findings[0].code == "proof.alg"
    assert verify_proof_by_key(b"{}", KEY.public).findings[0].code == "proof.form"
    assert verify_proof_by_key(altered(signer_kid="with blanks"), KEY.public).findings


def test_a_cosignature_that_one_key_cannot_answer_for_is_counted() -> None:
    cosigned = cosigned_by(RSA)
    assert verify_proof(cosigned, SignerRegistry([*KEY.registry.signers, *RSA.registry.signers])).sound
    assert verify_proof_by_key(cosigned, KEY.public).counts["cosignatures_unchecked"] == 1


REVOKED_AT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
CHAIN_KEY = Key(kid="chain-v1")


def revoked(key: Key) -> SignerRegistry:
    """The key signed up to sequence 12, says the registry: the proof of sequence 5 lies before that."""
    before = Validity({0: Interval(1, 12)}, Interval(1, 1_000))
    signer = RegisteredSigner(
        key.kid, key.algorithm, key.public, validity=before, retired_at=REVOKED_AT, revoked_at=REVOKED_AT
    )
    return SignerRegistry([signer, *CHAIN_KEY.registry.signers])


def chain_of(event_type: str, payload: dict[str, object], at: dt.datetime) -> bytes:
    unsigned = next_event(
        None, AuditIntent(event_type, "service:prover", payload, "t"), event_id=str(UUID(int=1)), created_at=at
    )
    signer = CHAIN_KEY.registry.get(CHAIN_KEY.kid)
    return unsigned.signed(CHAIN_KEY.sign_digest(unsigned.digest), signer).to_json() + b"\n"


def test_a_revoked_keys_proof_counts_alone_only_when_it_was_on_record_in_time() -> None:
    proof_hash = json.loads(PROOF)["hash"]
    closed = {"shard": 0, "range_no": "1", "proof_hash": proof_hash}
    before, after = REVOKED_AT - dt.timedelta(days=1), REVOKED_AT + dt.timedelta(days=1)
    assert verify_proof(PROOF, KEY.registry).sound

    def codes(lines: bytes | None) -> list[str]:
        return [finding.code for finding in verify_proof(PROOF, revoked(KEY), audit_lines=lines).findings]

    assert codes(None) == ["proof.validity"], "a thief dates what he signs as he likes"
    assert codes(chain_of("journal.posted", closed, before)) == []
    assert codes(chain_of("journal.posted", closed, after)) == ["proof.validity"]
    assert codes(chain_of("journal.posted", {**closed, "proof_hash": "ab" * 32}, before)) == [
        "proof.record",
        "proof.validity",
    ]
    assert "proof.validity" in codes(chain_of("ledger.halted", closed, before)), "another event says nothing of proofs"
    assert "audit.form" in codes(b"{}\n")
