"""A key counts for an interval of sequences, not of times: what a stolen key signs is found, whatever its `ts` says."""

from __future__ import annotations

import json

import msgspec
import pytest

from ledger_core.errors import Corrupt
from ledger_core.proving.on_demand import check_signed
from ledger_core.proving.range_proof import assemble_proof, parse_payload, parse_proof
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import encode_signature
from ledger_core.signing.statements import Cosignature
from ledger_core.signing.validity import NOTHING, Interval, Validity, parse_validity
from ledger_core.verify.audit import check_audit
from ledger_core.verify.oracle import Report, verify_archive, verify_batch, verify_ledger, verify_proof
from tests.simulator.ledger import MemoryLedger
from tests.simulator.tiny_shards import add_shard
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of, closed_of, cut_of
from tests.support.audit_factory import audit_events
from tests.support.journal_factory import TinyShard

KEY = Key("ed25519")
CUTS = [(5, 5), (12, 12), (15, 15)]


def registry(validity: Validity | None) -> SignerRegistry:
    signer = RegisteredSigner(KEY.kid, "ed25519", KEY.public, validity=validity)
    return SignerRegistry.from_json(SignerRegistry([signer]).to_json())  # as it is read from signers.json


def revoked(shard_seq: int, audit_seq: int = 1_000) -> SignerRegistry:
    return registry(Validity({0: Interval(1, shard_seq)}, Interval(1, audit_seq)))


def places(report: Report) -> set[tuple[str, int | None, int | None]]:
    return {(finding.code, finding.shard, finding.seq) for finding in report.findings}


def shard() -> TinyShard:
    return TinyShard().post(15)


def proof(last_seq: int, *, proof_id: str | None = None) -> bytes:
    """Signed by the key, with a time long before it was revoked."""
    made = shard()
    closed = closed_of(cut_of(made, None, last_seq, last_seq), made, KEY, 1, None)
    payload = parse_payload(closed.payload)
    if proof_id is not None:
        payload = msgspec.structs.replace(payload, proof_id=proof_id)
    return assemble_proof(payload.to_bytes(), KEY.sign_digest(payload.digest()))


def test_a_stolen_key_that_signs_above_its_interval_is_found_though_its_time_lies_before() -> None:
    report = verify_proof(proof(13), revoked(12))
    assert places(report) == {("proof.validity", 0, 13)}
    assert KEY.kid in report.findings[0].message
    assert "seq 1..12" in report.findings[0].message
    assert verify_proof(proof(12), revoked(12)).sound, "and everything before stands"


def test_a_shard_that_is_not_listed_proves_nothing() -> None:
    assert places(verify_proof(proof(1), registry(Validity({1: Interval()})))) == {("proof.validity", 0, 1)}
    assert verify_proof(proof(1), registry(Validity(None, Interval(1, 1)))).sound


def test_an_archive_below_the_revocation_verifies_and_each_statement_above_it_is_named() -> None:
    store = MemoryStore()
    keys = archive_of(shard(), CUTS, KEY, store)
    assert verify_archive(store, ENV, revoked(15)).sound
    report = verify_archive(store, ENV, revoked(12))
    kinds = {f"{kind}.validity" for kind in ("proof", "manifest", "checkpoint")}
    assert places(report) == {(kind, 0, 15) for kind in kinds}
    assert places(verify_batch(store.get(keys[2]), revoked(12))) == {("proof.validity", 0, 15)}
    assert verify_batch(store.get(keys[1]), revoked(12)).sound


def test_the_ledger_names_proofs_checkpoints_and_operators_proofs() -> None:
    made = MemoryLedger()
    add_shard(made, shard(), CUTS, KEY)
    made.asked_for = [proof(13)]
    assert verify_ledger(made, revoked(15)).sound
    found = places(verify_ledger(made, revoked(12)))
    assert found == {("proof.validity", 0, 15), ("checkpoint.validity", 0, 15), ("proof.validity", 0, 13)}


def test_the_audit_chain_names_the_event() -> None:
    events = audit_events(KEY, 4)
    assert check_audit(events, revoked(1, 4)).sound
    assert places(check_audit(events, revoked(1, 3))) == {("audit.validity", None, 4)}
    late = registry(Validity(None, Interval(3)))
    assert places(check_audit(events, late)) == {("audit.validity", None, 1), ("audit.validity", None, 2)}


def test_a_cosignature_outside_of_its_key_s_interval_is_found() -> None:
    other = Key("ed25519", "other-v1")
    made = shard()
    closed = closed_of(cut_of(made, None, 13, 13), made, other, 1, None)
    cosignature = Cosignature(
        signer_kid=KEY.kid, alg="ed25519", signature=encode_signature(KEY.sign_digest(closed.hash))
    )
    data = assemble_proof(closed.payload, other.sign_digest(closed.hash), (cosignature,))
    trusted = SignerRegistry([*revoked(12).signers, RegisteredSigner(other.kid, "ed25519", other.public)])
    assert places(verify_proof(data, trusted)) == {("proof.validity", 0, 13)}


def test_an_operator_s_proof_may_speak_of_history_older_than_its_key() -> None:
    young = registry(Validity({0: Interval(10)}))
    assert verify_proof(proof(5, proof_id="test-demand-1"), young).sound
    assert places(verify_proof(proof(5), young)) == {("proof.validity", 0, 5)}


def test_nothing_new_is_stated_on_a_proof_outside_of_its_key_s_interval() -> None:
    data = proof(13)
    digest = parse_proof(data).digest()
    check_signed(data, digest, revoked(13), 0, 1)
    with pytest.raises(Corrupt, match=r"seq 1\.\.12"):
        check_signed(data, digest, revoked(12), 0, 1)


@pytest.mark.parametrize(
    "validity",
    [
        Validity(),
        Validity({}, NOTHING),
        Validity({0: Interval(), 3: Interval(7, 7)}, Interval(2, 900)),
        Validity({1: NOTHING}),
    ],
)
def test_what_is_written_is_read_again(validity: Validity) -> None:
    assert parse_validity(json.loads(json.dumps(validity.to_json()))) == validity
    assert registry(validity).get(KEY.kid).validity == validity


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"shard": []},
        {"shards": {}},
        {"shards": [0]},
        {"shards": [{"shard": -1}]},
        {"shards": [{"shard": "0"}]},
        {"shards": [{"shard": True}]},
        {"shards": [{"shard": 0}, {"shard": 0}]},
        {"shards": [{"shard": 0, "until": "3"}]},
        {"audit": None},
        {"audit": {"to_seq": 3}},
        {"audit": {"to_seq": "03"}},
        {"audit": {"to_seq": "-1"}},
        {"audit": {"to_seq": "٣"}},
        {"audit": {"from_seq": "5", "to_seq": "3"}},
        {"audit": {"to_seq": "9" * 30}},
    ],
)
def test_a_bound_that_is_not_understood_is_refused_with_the_signer_and_never_passed_over(value: object) -> None:
    item = {"signer_kid": KEY.kid, "algorithm": "ed25519", "public_key_pem": KEY.public.pem, "validity": value}
    with pytest.raises(ValueError, match=KEY.kid):
        SignerRegistry.from_json(json.dumps([item]).encode())
