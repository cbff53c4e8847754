"""A MAC key: what it may sign, who can check it, and how somebody could pass one off for more than it is.

Its service is in memory here (`tests.support.mac_key`); the stack's KMS stands in tests/integration/signing.
"""

from __future__ import annotations

import dataclasses
import hmac
import json
from typing import Final

import pytest

from ledger_core import canonical
from ledger_core.chain import link
from ledger_core.errors import Unavailable
from ledger_core.proving import checkpoint
from ledger_core.proving.range_proof import assemble_proof, parse_proof
from ledger_core.signing import notes
from ledger_core.signing.mac_keys import CHECK_TEXT, CannotAsk, MacKey
from ledger_core.signing.purposes import MAC_MAY_SIGN, PURPOSES, SIGNED_BY, Purpose
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import BadSignature, MacUnchecked, encode_signature, verify_digest, verify_text
from ledger_core.signing.statements import Cosignature
from ledger_core.verify.oracle import Report, verify_proof, verify_proof_by_key
from tests.support.archive_factory import Key, checkpoint_text, closed_of, cut_of
from tests.support.journal_factory import TinyShard
from tests.support.mac_key import MacSecret
from tests.unit.signing.statement_readers import READERS
from tests.unit.signing.trials import KEY, Reader, Trial

MAC, OTHER_MAC = MacSecret(), MacSecret("other-mac-v1", b"another secret of thirty-two byte", "mac-key-2")
COSIGNER = Key(kid="cosigner-v1")
BOTH: Final = SignerRegistry([*MAC.registry.signers, *COSIGNER.registry.signers])
ASKED: Final = BOTH.asking(MAC.ask)


def test_every_kind_of_statement_says_whether_a_mac_may_sign_it() -> None:
    assert list(MAC_MAY_SIGN) == list(PURPOSES)
    assert {it for it in PURPOSES if MAC_MAY_SIGN[it]} == {"proof", "demand"}
    assert BOTH.get(MAC.kid).lacks(PURPOSES) == tuple(it for it in PURPOSES if not MAC_MAY_SIGN[it])
    assert {name for name, said in SIGNED_BY.items() if not any(MAC_MAY_SIGN[it] for it in said)} == {
        *("archiver", "notary", "backup")
    }


@pytest.mark.parametrize("name", READERS)
def test_no_reader_accepts_a_mac_on_what_no_mac_may_sign(name: str) -> None:
    """The key service is asked, and would say yes to whatever bytes were signed."""
    reader: Reader = READERS[name]
    key = MacSecret("reader-mac-v1", key_id="mac-key-3")
    registry = SignerRegistry([*Trial(KEY, ASKED).registry.signers, *OTHERS.signers, *key.registry.signers])
    trial = Trial(key, registry.asking(key.ask))  # type: ignore[arg-type]
    try:
        accepted = reader.accepts(trial)
    except ValueError:  # not even the statement can be made
        accepted = False
    assert accepted == (name in ACCEPTING)
    if not any(MAC_MAY_SIGN[kind] for kind in reader.says):
        assert not key.asked, "nobody is asked about what does not count anyway"


# Readers of a proof that stands alone; an archive and a ledger hold manifests and checkpoints of the same key.
ACCEPTING: Final = {"range proof", "cosignature of a range proof", "range proof to build on"}
OTHERS: Final = SignerRegistry([RegisteredSigner("other-v1", "ed25519", Key(kid="other-v1").public)])


def made(*, cosigner: Key | MacSecret | None = COSIGNER, key: Key | MacSecret = MAC) -> bytes:
    """A range proof signed by `key`, and by the cosigner."""
    shard = TinyShard().post(5)
    closed = closed_of(cut_of(shard, None, 5, 5), shard, key, 1, None)
    beside = () if cosigner is None else (cosigned(closed.hash, cosigner),)
    return assemble_proof(closed.payload, key.sign_digest(closed.hash), beside)


def cosigned(digest: bytes, key: Key | MacSecret) -> Cosignature:
    return Cosignature(signer_kid=key.kid, alg=key.algorithm, signature=encode_signature(key.sign_digest(digest)))


def changed(data: bytes, **changes: object) -> bytes:
    """Another statement, with a hash of its own and the signatures as they were."""
    fields = {**json.loads(data), **changes}
    beside = {name: fields.pop(name) for name in ("signature", "cosignatures") if name in fields}
    fields.pop("hash")
    digest = link(canonical.encode(fields), None)
    return canonical.encode({**fields, **beside, "hash": digest.hex()})


def signed_with(data: bytes, signature: bytes, **beside: object) -> bytes:
    return canonical.encode({**json.loads(data), "signature": encode_signature(signature), **beside})


def said(report: Report) -> tuple[list[str], int, int]:
    """Codes, signatures and MACs that were checked, MACs that were not."""
    counts = report.counts
    codes = [finding.code for finding in report.findings]
    return codes, counts.get("signatures", 0) + counts.get("macs_checked", 0), counts.get("macs_unchecked", 0)


DIGEST: Final = bytes.fromhex(parse_proof(made()).hash)
FORGED: Final = hmac.digest(b"a guess", DIGEST, "sha256")
# What is read, with which registry, and what the oracle says: codes, signatures checked, MACs unchecked.
CASES: Final = {
    "MAC, service asked": (made(cosigner=None), ASKED, ([], 1, 0)),
    "MAC and cosignature, service asked": (made(), ASKED, ([], 2, 0)),
    "MAC, nobody to ask": (made(cosigner=None), BOTH, (["proof.mac"], 0, 1)),
    "MAC and cosignature, nobody to ask": (made(), BOTH, ([], 1, 1)),
    "the service lets us not ask": (made(cosigner=None), BOTH.asking(OTHER_MAC.ask), (["proof.mac"], 0, 1)),
    "forged MAC, service asked": (signed_with(made(), FORGED), ASKED, (["proof.signature"], 1, 0)),
    "forged MAC, cosigned, nobody to ask": (signed_with(made(), FORGED), BOTH, ([], 1, 1)),
    "MAC cut short": (signed_with(made(cosigner=None), FORGED[:16]), BOTH, (["proof.signature"], 0, 0)),
    "cosignature of other bytes": (
        changed(made(), trace_id="ab" * 16),
        BOTH,
        (["proof.mac", "proof.cosignature"], 0, 1),
    ),
    "cosignature by an unknown key": (made(), MAC.registry, (["proof.mac", "proof.cosignature"], 0, 1)),
    "cosigned by a MAC alone": (
        made(cosigner=OTHER_MAC),
        SignerRegistry([*BOTH.signers, *OTHER_MAC.registry.signers]),
        (["proof.mac"], 0, 2),
    ),
    "asymmetric, and a MAC beside it that nobody can ask about": (made(cosigner=MAC, key=COSIGNER), BOTH, ([], 1, 1)),
    "asymmetric, and a forged MAC beside it": (
        signed_with(
            made(cosigner=MAC, key=COSIGNER),
            COSIGNER.sign_digest(bytes.fromhex(parse_proof(made(cosigner=None, key=COSIGNER)).hash)),
            cosignatures=[
                {"signer_kid": MAC.kid, "alg": "hmac-sha256", "signature": encode_signature(FORGED)},
            ],
        ),
        ASKED,
        (["proof.cosignature"], 1, 0),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_the_oracle_says_of_a_mac(case: str) -> None:
    data, registry, expected = CASES[case]
    assert said(verify_proof(data, registry)) == expected


PEM_BYTES: Final = COSIGNER.public.pem.encode()
# How somebody without the secret could try. None may be sound, whether the service is asked or not.
ATTACKS: Final = {
    "a MAC made with a public key's PEM as the secret": signed_with(
        made(cosigner=None), hmac.digest(PEM_BYTES, DIGEST, "sha256")
    ),
    "a MAC made with a public key's raw bytes as the secret": signed_with(
        made(cosigner=None), hmac.digest(COSIGNER.public.raw, DIGEST, "sha256")
    ),
    "a MAC made with the check value as the secret": signed_with(
        made(cosigner=None), hmac.digest(bytes.fromhex(MAC.public.check_value), DIGEST, "sha256")
    ),
    "the check value itself as a MAC": signed_with(made(cosigner=None), bytes.fromhex(MAC.public.check_value)),
    "hmac-sha256 under the kid of a public key": changed(made(cosigner=None), signer_kid=COSIGNER.kid),
    "the same, with the public key as the secret": signed_with(
        changed(made(cosigner=None), signer_kid=COSIGNER.kid),
        hmac.digest(
            COSIGNER.public.raw,
            bytes.fromhex(json.loads(changed(made(cosigner=None), signer_kid=COSIGNER.kid))["hash"]),
            "sha256",
        ),
    ),
    "ed25519 under the kid of a MAC key": changed(made(cosigner=None), alg="ed25519"),
    "the alg swapped under a sound asymmetric signature": changed(made(cosigner=None, key=COSIGNER), alg="hmac-sha256"),
    "a cosignature that says it is a MAC": canonical.encode(
        {
            **json.loads(made()),
            "cosignatures": [
                {
                    "signer_kid": COSIGNER.kid,
                    "alg": "hmac-sha256",
                    "signature": json.loads(made())["cosignatures"][0]["signature"],
                }
            ],
        }
    ),
    "another MAC key under this kid": signed_with(made(cosigner=None), OTHER_MAC.sign_digest(DIGEST)),
}


@pytest.mark.parametrize("registry", [BOTH, ASKED], ids=["nobody to ask", "service asked"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_is_sound(attack: str, registry: SignerRegistry) -> None:
    assert not verify_proof(ATTACKS[attack], registry).sound


def test_a_mac_of_our_own_is_never_computed() -> None:
    """Nothing in the product makes an HMAC: it could only be with bytes that we hold."""
    key = BOTH.get(MAC.kid).public_key
    with pytest.raises(MacUnchecked, match="needs the key service"):
        verify_digest(key, DIGEST, MAC.sign_digest(DIGEST))
    verify_digest(ASKED.get(MAC.kid).public_key, DIGEST, MAC.sign_digest(DIGEST))


def test_a_key_service_that_is_away_is_waited_for_and_is_no_answer() -> None:
    def away(key_id: str, digest: bytes, mac: bytes) -> bool:
        raise Unavailable("signer", "no answer")

    with pytest.raises(Unavailable):
        verify_proof(made(), BOTH.asking(away))


# With one public key and no registry: the key of a cosigner checks a proof whose own signature is a MAC.
@pytest.mark.parametrize(
    ("data", "key", "expected"),
    [
        (made(), COSIGNER, ([], 1, 1)),
        (made(), KEY, (["proof.mac"], 0, 1)),
        (made(cosigner=None), COSIGNER, (["proof.mac"], 0, 1)),
        (made(cosigner=OTHER_MAC), COSIGNER, (["proof.mac"], 0, 1)),
        (changed(made(), trace_id="ab" * 16), COSIGNER, (["proof.mac"], 0, 1)),
        (signed_with(made(), FORGED), COSIGNER, ([], 1, 1)),
    ],
)
def test_the_key_of_a_cosigner_alone(data: bytes, key: Key, expected: tuple[list[str], int, int]) -> None:
    assert said(verify_proof_by_key(data, key.public)) == expected


def test_a_note_knows_no_mac() -> None:
    text = checkpoint_text("example.com/finance/test/ledger/0", 5, bytes(32))
    key = ASKED.get(MAC.kid).public_key
    with pytest.raises(BadSignature, match="signs no note"):
        verify_text(key, text, MAC.sign_text(text))
    with pytest.raises(BadSignature, match="signs no note"):
        notes.signature_line(text, MAC.kid, key, MAC.sign_text(text))
    line = notes.signature_line(text, COSIGNER.kid, COSIGNER.public, COSIGNER.sign_text(text))
    renamed = text + b"\n" + line.replace(COSIGNER.kid.encode(), MAC.kid.encode())
    with pytest.raises(BadSignature, match="no key of the registry signed this checkpoint"):
        checkpoint.parse_and_verify(renamed, ASKED)


ITEM: Final = {
    "signer_kid": MAC.kid,
    "algorithm": "hmac-sha256",
    "mac_key_id": MAC.public.key_id,
    "mac_check": MAC.public.check_value,
    "description": "",
}
ED_ITEM: Final = {"signer_kid": "a", "algorithm": "ed25519", "public_key_pem": COSIGNER.public.pem}


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in ITEM.items() if key != name}


def test_a_mac_key_is_written_and_read_back() -> None:
    assert json.loads(MAC.registry.to_json()) == {"signers": [ITEM]}
    for signs in (None, frozenset[Purpose]({"proof"}), frozenset[Purpose]({"proof", "demand"})):
        registered = dataclasses.replace(MAC.registry.get(MAC.kid), signs=signs)
        assert SignerRegistry.from_json(SignerRegistry([registered]).to_json()).signers == (registered,)
    assert ASKED.to_json() == BOTH.to_json(), "who is asked is not written down"


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (without("mac_key_id"), "is a MAC key without mac_key_id and mac_check"),
        (without("mac_check"), "is a MAC key without mac_key_id and mac_check"),
        ({**ITEM, "mac_check": "AB" * 32}, "64 lower-case hex digits"),
        ({**ITEM, "mac_check": 7}, "is a MAC key without"),
        ({**ITEM, "mac_key_id": "alias/finance-mac"}, "an alias, which can be moved"),
        ({**ITEM, "mac_key_id": "arn:aws:kms:eu-west-1:1:alias/finance"}, "an alias, which can be moved"),
        ({**ITEM, "mac_key_id": "a b"}, "is not the id of a key"),
        ({**ITEM, "mac_key_id": ""}, "is not the id of a key"),
        ({**ITEM, "public_key_pem": COSIGNER.public.pem}, "is a MAC key, which has no public key"),
        ({**ITEM, "publicKey": ""}, "is a MAC key, which has no public key"),
        ({**ITEM, "secret": "00"}, "'secret' is not a field"),
        ({**ITEM, "algorithm": "HMAC-SHA256"}, "is not spelled"),
        ({**ITEM, "algorithm": "ed25519"}, "mac_key_id and mac_check are for a key of hmac-sha256"),
        ({**ED_ITEM, "mac_check": MAC.public.check_value}, "are for a key of hmac-sha256"),
        ({**ED_ITEM, "algorithm": "hmac-sha256"}, "is a MAC key, which has no public key"),
        ({**ITEM, "signs": ["proof", "manifest"]}, "is a MAC key, which may sign proof alone"),
        ({**ITEM, "signs": ["audit_event"]}, "is a MAC key, which may sign nothing of these alone"),
    ],
)
def test_a_mac_key_that_is_something_else_is_refused(item: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        SignerRegistry.from_json(json.dumps({"signers": [item]}).encode())


def test_another_key_behind_the_same_id_is_another_key() -> None:
    imposter = MacKey(MAC.public.key_id, hmac.digest(b"another", CHECK_TEXT, "sha256").hex())
    assert imposter != MAC.public
    assert imposter.fingerprint != MAC.public.fingerprint
    assert BOTH.find_by_key(imposter) is None
    assert BOTH.find_by_key(dataclasses.replace(MAC.public, ask=OTHER_MAC.ask)) is not None, "who is asked is no part"
    with pytest.raises(CannotAsk):
        MAC.public.made(DIGEST, MAC.sign_digest(DIGEST))
