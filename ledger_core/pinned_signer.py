"""A signer whose every signature is verified with the public key that the registry pins (G6). Decides, does no I/O.

Guarantees: what `sign_digest` and `sign_text` return verifies under the registered key of the signer's kid; a signer
that is not registered, or has another algorithm than registered, is refused before it signs anything.
Does not: retry (Unavailable and Refused of the signer pass through), or know what time it is: retired keys are refused
by the adapter at its start.
"""

from __future__ import annotations

from ledger_core.errors import Refused
from ledger_core.ports import Algorithm, Signer
from ledger_core.signatures import BadSignature, PublicKey, verify_digest, verify_text
from ledger_core.signers import SignerRegistry


class PinnedSigner:
    """`signer` under the key that `registry` holds for its kid. Raises Refused when the two do not fit."""

    def __init__(self, signer: Signer, registry: SignerRegistry) -> None:
        registered = registry.find(signer.kid)
        if registered is None:
            raise Refused(
                f"signer {signer.kid} is not in the signer registry",
                remedy="add its public key to signers.json (FINANCE_SIGNERS) and publish it before signing",
            )
        if registered.algorithm != signer.algorithm:
            raise Refused(
                f"signer {signer.kid} signs with {signer.algorithm}, its registered key is {registered.algorithm}",
                remedy="set AUDIT_SIGNING_ALG to the algorithm of the key in signers.json",
            )
        self._signer = signer
        self._registry = registry
        self.kid: str = signer.kid
        self.algorithm: Algorithm = registered.algorithm
        self.public_key: PublicKey = registered.public_key

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 digest bytes. Raises Unavailable and Refused."""
        signature = self._signer.sign_digest(digest)
        try:
            verify_digest(self.public_key, digest, signature)
        except BadSignature as error:
            raise self._wrong_key(error) from error
        return signature

    def sign_text(self, text: bytes) -> bytes:
        """Sign the text of a note. Raises Unavailable and Refused."""
        signature = self._signer.sign_text(text)
        try:
            verify_text(self.public_key, text, signature)
        except BadSignature as error:
            raise self._wrong_key(error) from error
        return signature

    def check_kid(self, kid: str) -> None:
        """Refuse to sign what was written down for another key: its bytes name that key."""
        if kid != self.kid:
            raise Refused(
                f"this statement was written down for signer {kid}, not {self.kid}",
                remedy=f"run with signer {kid} until nothing waits for it, then rotate",
            )

    def knows(self, kid: str, digest: bytes, signature: bytes) -> bool:
        """Whether the registered key `kid` (this one or another) made the signature over the digest."""
        registered = self._registry.find(kid)
        if registered is None:
            return False
        try:
            verify_digest(registered.public_key, digest, signature)
        except BadSignature:
            return False
        return True

    def _wrong_key(self, error: BadSignature) -> Refused:
        return Refused(
            f"signer {self.kid} gave a signature that its registered key does not verify ({error})",
            remedy="compare the key behind AUDIT_SIGNING_KMS_KEY_ID with signers.json; nothing was published",
        )
