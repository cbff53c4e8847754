"""Which keys and signatures are accepted, and that there is one spelling of each."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ledger_core.signing.signatures import (
    BadSignature,
    PublicKey,
    decode_signature,
    encode_signature,
    verify_digest,
    verify_text,
)
from tests.support.archive_factory import Key

DIGEST = bytes(range(32))
KEYS = [Key("ed25519"), Key("rsa-sha256")]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.algorithm)
def test_a_signature_holds_for_its_digest_and_key_alone(key: Key) -> None:
    signature = key.sign_digest(DIGEST)
    verify_digest(key.public, DIGEST, signature)
    other = next(other for other in KEYS if other is not key)
    for public, digest, given in (
        (key.public, DIGEST[::-1], signature),
        (key.public, DIGEST, signature[:-1]),
        (key.public, DIGEST, b""),
        (other.public, DIGEST, signature),
        (key.public, b"\xaa", signature),
        (key.public, b"", signature),
    ):
        with pytest.raises(BadSignature):
            verify_digest(public, digest, given)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.algorithm)
def test_a_note_is_signed_as_text(key: Key) -> None:
    verify_text(key.public, b"text\n", key.sign_text(b"text\n"))
    with pytest.raises(BadSignature):
        verify_text(key.public, b"text", key.sign_text(b"text\n"))


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.algorithm)
def test_a_key_is_the_same_in_every_way_to_write_it(key: Key) -> None:
    der = base64.b64encode(key.public.spki_der).decode()
    wrapped = "\n".join(der[at : at + 40] for at in range(0, len(der), 40))
    assert PublicKey.parse(key.public.pem) == PublicKey.parse(der) == PublicKey.parse(wrapped) == key.public
    if key.algorithm == "ed25519":
        assert PublicKey.parse(base64.b64encode(key.public.raw).decode()) == key.public
    else:
        with pytest.raises(ValueError, match="raw"):
            _ = key.public.raw


def spki(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    encoding = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, encoding).decode()


def test_keys_that_let_signatures_be_forged_are_refused() -> None:
    with pytest.raises(ValueError, match="exponent 3 is below 65537"):
        PublicKey.parse(spki(rsa.generate_private_key(3, 2048)))
    with pytest.raises(ValueError, match="1024 bits"):
        PublicKey.parse(spki(rsa.generate_private_key(65537, 1024)))
    with pytest.raises(ValueError, match="neither an RSA nor an Ed25519"):
        PublicKey.parse(spki(ec.generate_private_key(ec.SECP256R1())))


@pytest.mark.parametrize(
    "text", ["", "not base64!", base64.b64encode(b"x" * 31).decode(), "-----BEGIN PUBLIC KEY-----"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        PublicKey.parse(text)


def test_a_signature_has_one_spelling() -> None:
    data = bytes(range(64))
    text = encode_signature(data)
    assert decode_signature(text) == data
    stray = text[:-3] + chr(ord(text[-3]) + 1) + "=="  # the same bytes to a careless decoder
    for other in (stray, text.rstrip("="), text + "\n", " " + text, text.replace("+", "-"), "", None, 5, data):
        if other != text:
            with pytest.raises(BadSignature):
                decode_signature(other)
