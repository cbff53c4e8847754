"""Any signer, same bytes: what every key service must do, judged by openssl. A new signer is one line in SERVICES."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ledger_core.errors import Refused
from ledger_core.ports import Algorithm
from ledger_core.signatures import BadSignature, verify_digest
from ledger_core.signers import RegisteredSigner, SignerRegistry
from producers.signer_local import LocalKey
from producers.signer_transit import TransitKey
from producers.verified_signer import TEXT_BYTES_MAX, KeyService, VerifiedSigner, pin
from tests.support.signing import NOW, kms_key, openssl_accepts_digest, openssl_accepts_text, register
from tests.support.transit_server import TransitServer, transit_server

pytestmark = pytest.mark.services

SERVICES: dict[str, Callable[[Callable[[str], Any]], KeyService]] = {  # given the fixture of a name
    "local-rsa": lambda _: LocalKey.generate("rsa-sha256", env="dev"),
    "local-ed25519": lambda _: LocalKey.generate("ed25519", env="dev"),
    "kms-rsa": lambda fixture: kms_key(fixture("stack").env, "rsa-sha256"),
    "kms-ed25519": lambda fixture: kms_key(fixture("stack").env, "ed25519"),
    "transit-rsa": lambda fixture: transit_key(fixture("transit"), "rsa-sha256"),
    "transit-ed25519": lambda fixture: transit_key(fixture("transit"), "ed25519"),
}
DIGEST = hashlib.sha256(b"a range of the ledger").digest()
NOTE = "example.com/finance/dev/ledger/0\n3\nAAAA\n\n— Zoë\n".encode()


@pytest.fixture(scope="module")
def transit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TransitServer]:
    with transit_server(tmp_path_factory.mktemp("transit")) as running:
        running.make_key("rsa-sha256", "rsa-2048")
        running.make_key("ed25519", "ed25519")
        yield running


def transit_key(server: TransitServer, algorithm: Algorithm) -> TransitKey:
    return TransitKey(server.address, algorithm, algorithm, token=server.token)


@pytest.fixture(params=sorted(SERVICES))
def service(request: pytest.FixtureRequest) -> KeyService:
    return SERVICES[request.param](request.getfixturevalue)


@pytest.fixture
def signer(service: KeyService) -> VerifiedSigner:
    return pin(service, register(service, "conformance-v1"), now=NOW)


def test_openssl_accepts_the_signature_of_a_digest(signer: VerifiedSigner) -> None:
    signature = signer.sign_digest(DIGEST)
    key = signer.registered.public_key
    assert len(signature) == (64 if signer.algorithm == "ed25519" else 256)
    assert openssl_accepts_digest(key, DIGEST, signature)
    assert not openssl_accepts_digest(key, hashlib.sha256(DIGEST).digest(), signature), "the digest was hashed again"
    assert not openssl_accepts_digest(key, bytes(32), signature)


def test_openssl_accepts_the_signature_of_a_note(signer: VerifiedSigner) -> None:
    signature = signer.sign_text(NOTE)
    key = signer.registered.public_key
    assert openssl_accepts_text(key, NOTE, signature)
    assert not openssl_accepts_text(key, NOTE + b"\n", signature)


def test_signing_again_gives_the_same_bytes(signer: VerifiedSigner) -> None:
    assert signer.sign_digest(DIGEST) == signer.sign_digest(DIGEST)
    assert signer.sign_text(NOTE) == signer.sign_text(NOTE)


def test_an_rsa_note_is_signed_as_its_digest_and_an_ed25519_note_as_itself(signer: VerifiedSigner) -> None:
    same = signer.sign_text(NOTE) == signer.sign_digest(hashlib.sha256(NOTE).digest())
    assert same is (signer.algorithm == "rsa-sha256")


@pytest.mark.parametrize("size", [0, 20, 31, 33, 64])
def test_only_32_bytes_are_a_digest(signer: VerifiedSigner, size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        signer.sign_digest(bytes(size))


def test_the_longest_note_is_signed_and_a_longer_one_is_not(signer: VerifiedSigner) -> None:
    assert signer.sign_text(b"x" * TEXT_BYTES_MAX)
    with pytest.raises(ValueError, match="at most"):
        signer.sign_text(b"x" * (TEXT_BYTES_MAX + 1))


def test_the_public_key_is_the_same_at_every_question(service: KeyService) -> None:
    assert service.public_key() == service.public_key()
    assert service.public_key().algorithm == service.algorithm


def test_the_kid_comes_from_the_registry(service: KeyService) -> None:
    signer = pin(service, register(service, "named-by-the-registry"), now=NOW)
    assert signer.kid == "named-by-the-registry"
    assert signer.algorithm == service.algorithm


def test_a_key_that_is_not_registered_may_not_sign(service: KeyService) -> None:
    stranger = LocalKey.generate(service.algorithm, env="dev")
    with pytest.raises(Refused, match="not in the signer registry") as caught:
        pin(service, register(stranger, "another-key"), now=NOW)
    assert "signers.json" in caught.value.remedy


def test_a_retired_key_may_not_sign_but_its_history_verifies(service: KeyService) -> None:
    signature = service.sign_digest(DIGEST)
    registry = register(service, "retired-v1", retired_at=NOW)
    with pytest.raises(Refused, match="retired"):
        pin(service, registry, now=NOW)
    verify_digest(registry.get("retired-v1").public_key, DIGEST, signature)


def test_a_signature_of_another_key_is_never_returned(service: KeyService) -> None:
    other = LocalKey.generate(service.algorithm, env="dev")
    failures: list[str] = []
    registered = RegisteredSigner("pinned-to-another-key", service.algorithm, other.public_key(), NOW)
    signer = VerifiedSigner(service, registered, on_failure=lambda: failures.append("told"))
    with pytest.raises(Refused, match="does not verify"):
        signer.sign_digest(DIGEST)
    with pytest.raises(Refused, match="does not verify"):
        signer.sign_text(NOTE)
    assert failures == ["told", "told"]


def test_a_registry_written_and_read_again_pins_the_same_key(service: KeyService) -> None:
    registry = SignerRegistry.from_json(register(service, "round-trip").to_json())
    signature = pin(service, registry, now=NOW).sign_digest(DIGEST)
    with pytest.raises(BadSignature):
        verify_digest(registry.get("round-trip").public_key, bytes(32), signature)
