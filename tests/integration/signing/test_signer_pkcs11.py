"""A real PKCS#11 token (SoftHSM2): the shared suite is test_signer_conformance.py, here is what is a token's own."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ledger_core.errors import Refused, SignerFailure, SignerRefused, Unavailable
from producers.signing.pkcs11 import Pkcs11Key
from producers.signing.verified_signer import VerifiedSigner, pin
from tests.support.hsm import Token, module
from tests.support.signing import NOW, openssl_accepts_digest, register
from tests.support.waits import PATIENCE_SECONDS, until

pytestmark = pytest.mark.services
DIGEST = bytes(range(32))


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Token:
    made = Token.make(tmp_path_factory.mktemp("hsm"), "finance")
    made.make_key("rsa", "rsa-sha256")
    made.make_key("ed", "ed25519")
    return made


class BareDigest(Pkcs11Key):
    """The mistake of the field: the 32 bytes without their DigestInfo."""

    def _sign(self, message: bytes) -> bytes:
        self._open()
        return bytes(self._private.sign(message, mechanism=pkcs11.Mechanism.RSA_PKCS))


def test_a_bare_digest_is_signed_by_the_token_and_refused_by_us(token: Token) -> None:
    honest = token.key("rsa", "rsa-sha256")
    bare = BareDigest(module(), token.label, "rsa", "rsa-sha256", pin=token.pin)
    assert not openssl_accepts_digest(honest.public_key(), DIGEST, bare.sign_digest(DIGEST))
    signer = VerifiedSigner(bare, register(honest, "hsm-v1").get("hsm-v1"), now=NOW)
    with pytest.raises(SignerRefused, match="does not verify") as caught:
        signer.sign_digest(DIGEST)
    assert caught.value.failure is SignerFailure.NOT_VERIFIED


def test_a_wrong_pin_is_refused_and_never_tried_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tokens lock after a few wrong PINs: a process that retries would lock everybody out."""
    own = Token.make(tmp_path_factory.mktemp("hsm"), "locked-out")
    own.make_key("ed", "ed25519")
    key = own.key("ed", "ed25519", pin="wrong-pin")
    for _ in range(2):
        with pytest.raises(Refused, match=r"PinIncorrect.*not tried again") as caught:
            key.public_key()
        assert "PKCS11_PIN" in caught.value.remedy
        assert "wrong-pin" not in str(caught.value)
    assert own.key("ed", "ed25519").public_key()


@pytest.mark.parametrize(
    ("label", "algorithm", "remedy"),
    [("missing", "ed25519", "AUDIT_SIGNING_PKCS11_KEY"), ("ed", "rsa-sha256", "AUDIT_SIGNING_PKCS11_KEY")],
)
def test_a_key_that_is_not_there_is_refused(token: Token, label: str, algorithm: str, remedy: str) -> None:
    with pytest.raises(Refused) as caught:
        token.key(label, algorithm).public_key()  # type: ignore[arg-type]
    assert remedy in caught.value.remedy


def test_a_key_that_may_not_sign_is_refused(token: Token) -> None:
    token.make_key("decrypts", "rsa-sha256", may_sign=False)
    with pytest.raises(Refused) as caught:
        token.key("decrypts", "rsa-sha256").sign_digest(DIGEST)
    assert "CKA_SIGN" in caught.value.remedy


def test_two_keys_of_one_label_are_refused(token: Token) -> None:
    for _ in range(2):
        token.make_key("twice", "ed25519")
    with pytest.raises(Refused, match="MultipleObjectsReturned") as caught:
        token.key("twice", "ed25519").public_key()
    assert "label of its own" in caught.value.remedy


def test_a_key_whose_signatures_can_be_forged_is_refused(token: Token) -> None:
    """With e = 3 a signature is the cube root of something that looks right: no such key is ever asked to sign."""
    token.store_key("cubic", rsa.generate_private_key(3, 2048))
    with pytest.raises(SignerRefused, match="exponent 3") as caught:
        token.key("cubic", "rsa-sha256").public_key()
    assert caught.value.failure is SignerFailure.WRONG_KEY


def test_a_token_that_is_not_there_is_waited_for(token: Token) -> None:
    absent = Pkcs11Key(module(), "unplugged", "ed", "ed25519", pin=token.pin)
    with pytest.raises(Unavailable, match="is the HSM connected"):
        absent.public_key()


def test_a_library_that_cannot_be_loaded_is_refused() -> None:
    with pytest.raises(Refused, match="cannot be loaded") as caught:
        Pkcs11Key("/nowhere/libpkcs11.so", "t", "k", "ed25519", pin="1").public_key()
    assert "PKCS11_MODULE" in caught.value.remedy


def test_a_session_that_the_token_ended_is_opened_again(token: Token) -> None:
    key = token.key("ed", "ed25519")
    signer = pin(key, register(key, "hsm-v1"), now=NOW)
    before = signer.sign_digest(DIGEST)
    pkcs11.lib(module()).reinitialize()  # as after a fail-over: every session of before is gone
    with pytest.raises(Unavailable, match="signer"):
        signer.sign_digest(DIGEST)
    assert signer.sign_digest(DIGEST) == before


class Hanging(Pkcs11Key):
    """A library call that comes back when it is let."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.comes_back = threading.Event()

    def _sign(self, message: bytes) -> bytes:
        assert self.comes_back.wait(PATIENCE_SECONDS)
        return super()._sign(message)


def test_a_library_that_hangs_is_unavailable_within_the_deadline_and_asked_again_when_it_is_back(token: Token) -> None:
    key = Hanging(module(), token.label, "ed", "ed25519", pin=token.pin, timeout_seconds=0.2)
    with pytest.raises(Unavailable, match=r"no answer in 0\.2 s"):
        key.sign_digest(DIGEST)
    with pytest.raises(Unavailable, match="has not answered the question before"):
        key.sign_digest(DIGEST)
    assert not key.comes_back.is_set(), "both said so while the library still hung"
    key.comes_back.set()

    def signs() -> bool:
        with contextlib.suppress(Unavailable):
            return bool(key.sign_digest(DIGEST))
        return False

    until("the key signs again", signs)
