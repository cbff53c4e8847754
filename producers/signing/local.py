"""A key in this process's own memory: for tests, drills and offline work. Production refuses it.

Guarantees: the same signatures as the key services (conformance suite); a key file that others may read is refused.
Does not: protect the key. Whoever can read the process or the file has it: hence never in production.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from ledger_core.errors import Refused
from ledger_core.ports import Algorithm
from ledger_core.signing.signatures import PublicKey
from schemas.read_file import SETTINGS_BYTES_MAX, read_file

RSA_BITS: Final = 2048


class LocalKey:
    """A KeyService on a private key object. Raises Refused when `env` is production."""

    def __init__(self, key: RSAPrivateKey | Ed25519PrivateKey, *, env: str, name: str = "a key in memory") -> None:
        if env == "production":
            raise Refused(
                "a private key in the process is not allowed in production",
                remedy="use a KMS, HSM or signing proxy: AUDIT_SIGNING_KMS_KEY_ID",
            )
        self.private_key: Final = key
        self._public_key = PublicKey.from_key(key.public_key())
        self.name: Final = name

    @classmethod
    def generate(cls, algorithm: Algorithm, *, env: str) -> LocalKey:
        """A new key that exists as long as this object."""
        if algorithm == "ed25519":
            return cls(Ed25519PrivateKey.generate(), env=env)
        return cls(rsa.generate_private_key(65537, RSA_BITS), env=env)

    @classmethod
    def from_file(cls, path: Path, *, env: str) -> LocalKey:
        """Read an unencrypted PKCS#8 PEM file that only its owner may read. Raises Refused otherwise."""
        try:
            mode = path.stat().st_mode
            data = read_file(path, SETTINGS_BYTES_MAX)
        except OSError as error:
            raise Refused(
                f"key file {path} cannot be read ({error.strerror})", remedy="name a readable file"
            ) from error
        if stat.S_IMODE(mode) & 0o077:
            raise Refused(f"key file {path} may be read by others", remedy=f"chmod 600 {path}")
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError) as error:
            raise Refused(f"key file {path} contains no plain PEM private key", remedy="give PKCS#8 PEM") from error
        if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
            raise Refused(f"key file {path} is neither RSA nor Ed25519", remedy="make a key of these kinds")
        return cls(key, env=env, name=f"key file {path}")

    @property
    def algorithm(self) -> Algorithm:
        return self._public_key.algorithm

    @property
    def claimed_kid(self) -> None:
        return None

    def public_key(self) -> PublicKey:
        return self._public_key

    def sign_digest(self, digest: bytes) -> bytes:
        if isinstance(self.private_key, Ed25519PrivateKey):
            return self.private_key.sign(digest)
        return self.private_key.sign(digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))

    def sign_text(self, text: bytes) -> bytes:
        if isinstance(self.private_key, Ed25519PrivateKey):
            return self.private_key.sign(text)
        return self.private_key.sign(text, padding.PKCS1v15(), hashes.SHA256())

    def close(self) -> None:
        """Nothing to let go: Python offers no way to wipe the key before the object goes."""
