"""Signed or silent (G6): no signature leaves a key service before the pinned public key has verified it.

Guarantees: the key service's own public key is one that the signer registry holds and has not retired (`pin` asks for
it; a signer made for a registered key can be there before the service is, and is pinned once it answers); every
signature returned verifies with that registered key over exactly the bytes asked for (of a MAC, the key service says
so in another call). A service that hashes twice, signs with another key or another scheme, or answers with rubbish is
refused.
Does not: retry, count or log (`consumers.signing.circuit` does), nor sign: the key services in the files beside it do.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from collections.abc import Callable
from typing import Final, Protocol, runtime_checkable

from ledger_core.errors import Refused, SignerFailure, SignerRefused
from ledger_core.ports import Algorithm, TreeHistory
from ledger_core.signing.mac_keys import MacKey
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import DIGEST_BYTES, BadSignature, PublicKey, verify_digest, verify_text

TEXT_BYTES_MAX: Final = 4096  # of a note text: the largest message AWS KMS signs with Ed25519


_START_CHECK: Final = hashlib.sha256(b"finance: signer check at start").digest()


class KeyService(Protocol):
    """A private key somewhere, and its operations; nothing is checked yet. Raises as the port Signer does."""

    @property
    def name(self) -> str:
        """Which key this is, for messages; never a secret."""
        ...

    @property
    def algorithm(self) -> Algorithm: ...

    @property
    def claimed_kid(self) -> str | None:
        """The signer_kid that the service itself gives the key, once it was asked; None where it gives none."""
        ...

    def public_key(self) -> PublicKey | MacKey:
        """Ask the service for its public key; of a MAC key, for what names it."""
        ...

    def sign_digest(self, digest: bytes) -> bytes: ...

    def sign_text(self, text: bytes) -> bytes: ...

    def close(self) -> None: ...


@runtime_checkable
class WitnessedKey(Protocol):
    """A KeyService that may stand before a witness, which signs no checkpoint without its history."""

    def sign_checkpoint(self, text: bytes, history: TreeHistory) -> bytes: ...


class VerifiedSigner:
    """The Signer port over a key service, for the key that `registered` is. Refused when that is retired at `now`,
    unless `now` is None: for an outgoing key, which signs only what was written down before."""

    def __init__(self, service: KeyService, registered: RegisteredSigner, *, now: dt.datetime | None) -> None:
        if now is not None and registered.retired_at is not None and registered.retired_at <= now:
            raise Refused(
                f"signer {registered.kid} is retired since {registered.retired_at:%Y-%m-%dT%H:%M:%SZ}",
                remedy="sign with its successor, or take retiredAt back in signers.json if the rotation is undone",
            )
        self._service = service
        self._pinned = False
        self.registered: Final = registered

    @property
    def kid(self) -> str:
        return self.registered.kid

    @property
    def algorithm(self) -> Algorithm:
        return self.registered.algorithm

    def pin(self) -> None:
        """The service holds the registered key, and one signature proves it: a wrong mode shows before there is
        anything to sign. Raises Unavailable("signer"), Refused."""
        if self._pinned:
            return
        offered = self._service.public_key()
        claimed = self._service.claimed_kid
        if offered != self.registered.public_key or claimed not in (None, self.kid):
            called = "" if claimed is None else f", which it calls {claimed},"
            raise SignerRefused(
                SignerFailure.WRONG_KEY,
                f"the key of {self._service.name}{called} is not the registered key {self.kid}",
                remedy="compare AUDIT_SIGNING_* and AUDIT_SIGNING_KID with signers.json (FINANCE_SIGNERS)",
            )
        self.sign_digest(_START_CHECK)
        self._pinned = True

    def sign_digest(self, digest: bytes) -> bytes:
        """The verified signature over 32 digest bytes. Raises Unavailable("signer"), Refused; ValueError on length."""
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        return self._signed(self._service.sign_digest, verify_digest, digest)

    def sign_text(self, text: bytes, history: TreeHistory | None = None) -> bytes:
        """The verified signature over a note text. Raises Unavailable("signer"), Refused; ValueError when too long."""
        if len(text) > TEXT_BYTES_MAX:
            raise ValueError(f"a note text of {len(text)} bytes, at most {TEXT_BYTES_MAX}")
        service = self._service
        if history is None or not isinstance(service, WitnessedKey):
            return self._signed(service.sign_text, verify_text, text)
        return self._signed(functools.partial(service.sign_checkpoint, history=history), verify_text, text)

    def close(self) -> None:
        """Let the connection to the key service go."""
        self._service.close()

    def _signed(
        self, sign: Callable[[bytes], bytes], verify: Callable[[PublicKey | MacKey, bytes, bytes], None], message: bytes
    ) -> bytes:
        signature = sign(message)
        # The first of two verifications: no adapter can be used around it. The core verifies again (`pinned_signer`).
        try:
            verify(self.registered.public_key, message, signature)
        except BadSignature as error:
            raise SignerRefused(
                SignerFailure.NOT_VERIFIED,
                f"{self._service.name} made a signature that the registered key {self.kid} does not verify ({error})",
                remedy="check key, algorithm and that the service signs the digest without hashing it again; "
                "nothing was published",
            ) from error
        return signature


def pin(service: KeyService, registry: SignerRegistry, *, now: dt.datetime | None) -> VerifiedSigner:
    """Ask the service for its public key, find it in the registry, and prove by one signature that they fit.

    Raises Unavailable("signer"), and Refused when the key is not registered, is retired at `now`, or does not sign.
    """
    registered = registry.find_by_key(service.public_key())
    if registered is None:
        raise SignerRefused(
            SignerFailure.WRONG_KEY,
            f"the public key of {service.name} is not in the signer registry",
            remedy="publish it first, as a new signer with deployedAt, in signers.json (FINANCE_SIGNERS) and to "
            "Kernel; or let AUDIT_SIGNING_* name the key that is registered",
        )
    signer = VerifiedSigner(service, registered, now=now)
    signer.pin()
    return signer
