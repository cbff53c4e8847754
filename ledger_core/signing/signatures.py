"""Public keys and signatures: what is accepted, and nothing else.

Guarantees: `rsa-sha256` is PKCS#1 v1.5 with the SHA-256 DigestInfo, checked by re-encoding and comparing (OpenSSL
does), so that no e=3 forgery passes; `ed25519` is pure Ed25519 of RFC 8032. Keys under which anybody could sign are
refused (`ledger_core.signing.key_rules`). A signature covers the 32 bytes of a digest, or the text of a C2SP note.
`hmac-sha256` covers a digest alone, and its key service is asked (`ledger_core.signing.mac_keys`).
Signature texts have one spelling. It signs nothing and knows no private key and no secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from ledger_core.ports import Algorithm
from ledger_core.signing.key_rules import check_ed25519, check_rsa
from ledger_core.signing.mac_keys import MAC_ALGORITHM, CannotAsk, MacKey

DIGEST_BYTES: Final = 32

_PKCS1V15 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
_PREHASHED_SHA256 = Prehashed(_SHA256)


class BadSignature(ValueError):
    """A signature that does not belong to this key and this digest or text."""


class MacUnchecked(BadSignature):
    """A MAC that nobody here can check: it may be right, and does not count by itself."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that passed the rules above. Equal keys have equal `spki_der`, however they were written down."""

    algorithm: Algorithm  # fixed by the type of the key
    spki_der: bytes
    key: RSAPublicKey | Ed25519PublicKey = field(compare=False, repr=False)  # the parsed key; not compared

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER SubjectPublicKeyInfo, hex: what people compare, and what the audit chain names."""
        return hashlib.sha256(self.spki_der).hexdigest()

    @classmethod
    def from_key(cls, key: object) -> PublicKey:
        """From an object of the `cryptography` package. Raises ValueError for a key outside the rules."""
        if isinstance(key, Ed25519PublicKey):
            check_ed25519(key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))
            return cls("ed25519", _spki(key), key)
        if isinstance(key, RSAPublicKey):
            numbers = key.public_numbers()
            check_rsa(numbers.n, numbers.e)
            return cls("rsa-sha256", _spki(key), key)
        raise ValueError(f"{type(key).__name__} is neither an RSA nor an Ed25519 public key")

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """From PEM SPKI, base64 of DER SPKI, or base64 of the 32 raw Ed25519 bytes. Raises ValueError."""
        try:
            if "-----BEGIN" in text:
                return cls.from_key(serialization.load_pem_public_key(text.strip().encode("ascii")))
            data = base64.b64decode("".join(text.split()), validate=True)
            if len(data) == 32:
                return cls.from_key(Ed25519PublicKey.from_public_bytes(data))
            return cls.from_key(serialization.load_der_public_key(data))
        except UnsupportedAlgorithm as error:
            raise ValueError(f"unsupported public key: {error}") from None

    @property
    def raw(self) -> bytes:
        """The 32 raw bytes of an Ed25519 key. Raises ValueError for RSA."""
        if not isinstance(self.key, Ed25519PublicKey):
            raise ValueError("an RSA key has no raw form")
        return self.key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    @property
    def pem(self) -> str:
        """PEM SPKI with a newline at the end: what `openssl` and Kernel read."""
        data = self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        return data.decode("ascii")


def verify_digest(public_key: PublicKey | MacKey, digest: bytes, signature: bytes) -> None:
    """Raise BadSignature unless `signature` was made over the 32 bytes of `digest` by this key: MacUnchecked where its
    key service cannot be asked, Unavailable while it is away."""
    if len(digest) != DIGEST_BYTES:
        raise BadSignature(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")
    if isinstance(public_key, MacKey):
        _verify_mac(public_key, digest, signature)
        return
    key = public_key.key
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, digest)
        else:
            key.verify(signature, digest, _PKCS1V15, _PREHASHED_SHA256)
    except InvalidSignature:
        raise BadSignature(f"the {public_key.algorithm} signature does not fit the digest") from None


def _verify_mac(key: MacKey, digest: bytes, mac: bytes) -> None:
    """See `verify_digest`."""
    try:
        made = key.made(digest, mac)
    except CannotAsk as error:
        raise MacUnchecked(f"the MAC is not checkable here: that needs the key service ({error})") from error
    if not made:
        raise BadSignature(f"the {key.algorithm} MAC does not fit the digest")


def verify_text(public_key: PublicKey | MacKey, text: bytes, signature: bytes) -> None:
    """Raise BadSignature unless `signature` is this key's over `text` (Ed25519: the text itself; RSA: its SHA-256). A
    MAC signs no text."""
    if isinstance(public_key, MacKey):
        raise BadSignature("a MAC key signs no note: strangers verify it")
    key = public_key.key
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, text)
        else:
            key.verify(signature, text, _PKCS1V15, _SHA256)
    except InvalidSignature:
        raise BadSignature(f"the {public_key.algorithm} signature does not fit the text") from None


def to_sign(algorithm: Algorithm, text: bytes) -> bytes:
    """What a key service is given for a signature over `text`: Ed25519 takes the text itself, RSA its SHA-256. Raises
    ValueError for a MAC, which signs no text."""
    if algorithm == MAC_ALGORITHM:
        raise ValueError("a MAC key signs no note: strangers verify it")
    return text if algorithm == "ed25519" else hashlib.sha256(text).digest()


def encode_signature(signature: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(signature).decode("ascii")


def decode_signature(text: object) -> bytes:
    """The bytes of a base64 text in its one spelling: no blanks, no URL alphabet, no stray bits in the last character.

    Raises BadSignature, so that two texts are never the same signature.
    """
    if type(text) is not str:
        raise BadSignature(f"a signature is base64 text, not {type(text).__name__}")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature("the signature is not base64") from None
    if not data or encode_signature(data) != text:
        raise BadSignature("the signature is not in the one spelling of base64")
    return data


def _spki(key: RSAPublicKey | Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
