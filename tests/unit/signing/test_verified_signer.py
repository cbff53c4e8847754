"""Key services that lie, each in a way seen in the field: nothing they sign gets out, and somebody is told."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest

from ledger_core.errors import Refused, SignerFailure, SignerRefused
from ledger_core.ports import Algorithm
from ledger_core.signing.signatures import PublicKey
from producers.signing.local import LocalKey
from producers.signing.verified_signer import VerifiedSigner, pin
from tests.support.signing import NOW, register

DIGEST = hashlib.sha256(b"x").digest()


class Lying:
    """A key service over a real key, whose signatures pass through `lie(key, message)`."""

    name = "a lying service"

    def __init__(self, key: LocalKey, lie: Callable[[LocalKey, bytes], bytes]) -> None:
        self.key = key
        self.lie = lie
        self.algorithm: Algorithm = key.algorithm
        self.claimed_kid: str | None = None

    def public_key(self) -> PublicKey:
        return self.key.public_key()

    def sign_digest(self, digest: bytes) -> bytes:
        return self.lie(self.key, digest)

    def sign_text(self, text: bytes) -> bytes:
        return self.lie(self.key, hashlib.sha256(text).digest())

    def close(self) -> None: ...


def _hashes_twice(key: LocalKey, message: bytes) -> bytes:
    return key.sign_digest(hashlib.sha256(message).digest())


def _signs_with_another_key(key: LocalKey, message: bytes) -> bytes:
    return LocalKey.generate(key.algorithm, env="dev").sign_digest(message)


def _signs_with_another_algorithm(key: LocalKey, message: bytes) -> bytes:
    other: Algorithm = "ed25519" if key.algorithm == "rsa-sha256" else "rsa-sha256"
    return LocalKey.generate(other, env="dev").sign_digest(message)


def _answers_an_old_signature(key: LocalKey, _message: bytes) -> bytes:
    return key.sign_digest(hashlib.sha256(b"yesterday").digest())


def _answers_nothing(_key: LocalKey, _message: bytes) -> bytes:
    return b""


def _answers_zeros(_key: LocalKey, _message: bytes) -> bytes:
    return bytes(64)


def _flips_a_bit(key: LocalKey, message: bytes) -> bytes:
    signature = bytearray(key.sign_digest(message))
    signature[-1] ^= 1
    return bytes(signature)


def _answers_base64(key: LocalKey, message: bytes) -> bytes:
    return base64.b64encode(key.sign_digest(message))


LIES = [
    _hashes_twice,
    _signs_with_another_key,
    _signs_with_another_algorithm,
    _answers_an_old_signature,
    _answers_nothing,
    _answers_zeros,
    _flips_a_bit,
    _answers_base64,
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__.strip("_"))
@pytest.mark.parametrize("algorithm", ["ed25519", "rsa-sha256"])
def test_a_wrong_signature_never_gets_out(algorithm: Algorithm, lie: Callable[[LocalKey, bytes], bytes]) -> None:
    service = Lying(LocalKey.generate(algorithm, env="dev"), lie)
    registry = register(service, "pinned")
    signer = VerifiedSigner(service, registry.get("pinned"), now=NOW)
    for sign in (signer.sign_digest, signer.sign_text):
        with pytest.raises(SignerRefused, match="does not verify") as caught:
            sign(DIGEST)
        assert caught.value.failure is SignerFailure.NOT_VERIFIED
    with pytest.raises(Refused, match="does not verify"):
        pin(service, registry, now=NOW)


def _honest(key: LocalKey, message: bytes) -> bytes:
    return key.sign_digest(message)


def test_another_key_behind_the_right_name_is_the_wrong_key() -> None:
    registry = register(LocalKey.generate("ed25519", env="dev"), "pinned")
    signer = VerifiedSigner(Lying(LocalKey.generate("ed25519", env="dev"), _honest), registry.get("pinned"), now=NOW)
    with pytest.raises(SignerRefused, match="is not the registered key pinned") as caught:
        signer.pin()
    assert caught.value.failure is SignerFailure.WRONG_KEY


def test_the_right_key_under_a_name_that_is_not_registered_is_refused() -> None:
    service = Lying(LocalKey.generate("ed25519", env="dev"), _honest)
    signer = VerifiedSigner(service, register(service, "pinned").get("pinned"), now=NOW)
    service.claimed_kid = "renamed"
    with pytest.raises(SignerRefused, match="calls renamed"):
        signer.pin()
    service.claimed_kid = "pinned"
    signer.pin()


def test_a_retired_key_is_there_only_for_what_was_written_down_before() -> None:
    service = Lying(LocalKey.generate("ed25519", env="dev"), _honest)
    retired = register(service, "old", retired_at=NOW).get("old")
    with pytest.raises(Refused, match="retired since"):
        VerifiedSigner(service, retired, now=NOW)
    VerifiedSigner(service, retired, now=None).pin()
