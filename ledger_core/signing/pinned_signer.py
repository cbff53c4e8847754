"""A signer whose every signature is verified with the public key that the registry pins (G6). Decides, does no I/O.

Guarantees: what `sign_digest` and `sign_text` return verifies under the registered key of the signer's kid; a signer
that is not registered, or has another algorithm than registered, is refused before it signs anything.
Does not: retry (Unavailable and Refused of the signer pass through), or know what time it is: retired keys are refused
where the signer is made.
"""

from __future__ import annotations

from ledger_core.errors import Refused, SignerFailure, SignerRefused
from ledger_core.ports import Algorithm, Signer, TreeHistory
from ledger_core.signing.mac_keys import MacKey
from ledger_core.signing.notes import signature_line
from ledger_core.signing.purposes import Purpose
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import BadSignature, PublicKey, encode_signature, verify_digest, verify_text
from ledger_core.signing.statements import Cosignature


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
        self.registered: RegisteredSigner = registered
        self.kid: str = signer.kid
        self.algorithm: Algorithm = registered.algorithm
        self.public_key: PublicKey | MacKey = registered.public_key

    def says(self, purpose: Purpose) -> bool:
        """Whether its signature counts for that kind of statement: a MAC's does not for a checkpoint."""
        return not self.registered.lacks([purpose])

    def pin(self) -> None:
        """Make sure that the key service holds the registered key. Raises Unavailable and Refused."""
        self._signer.pin()

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 digest bytes. Raises Unavailable and Refused."""
        signature = self._signer.sign_digest(digest)
        # The second of two verifications: the adapters' layer made the first, and the core trusts no adapter (G6).
        try:
            verify_digest(self.public_key, digest, signature)
        except BadSignature as error:
            raise self._not_verified(error) from error
        return signature

    def sign_text(self, text: bytes, history: TreeHistory | None = None) -> bytes:
        """Sign the text of a note; `history` where it is a checkpoint. Raises Unavailable and Refused."""
        signature = self._signer.sign_text(text, history)
        try:
            verify_text(self.public_key, text, signature)
        except BadSignature as error:
            raise self._not_verified(error) from error
        return signature

    def cosign(self, digest: bytes) -> Cosignature:
        """A second signature for a proof whose hash is `digest`. Raises Unavailable and Refused."""
        signature = encode_signature(self.sign_digest(digest))
        return Cosignature(signer_kid=self.kid, alg=self.algorithm, signature=signature)

    def note_line(self, text: bytes, history: TreeHistory) -> bytes:
        """The signature line of this key for the checkpoint of that text. Raises Unavailable and Refused."""
        return signature_line(text, self.kid, self.public_key, self.sign_text(text, history))

    def close(self) -> None:
        self._signer.close()

    def _not_verified(self, error: BadSignature) -> Refused:
        return SignerRefused(
            SignerFailure.NOT_VERIFIED,
            f"signer {self.kid} gave a signature that its registered key does not verify ({error})",
            remedy="compare the key that AUDIT_SIGNING_* names with signers.json; nothing was published",
        )
