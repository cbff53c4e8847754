"""Making a new signing key inside its service: what is asked for, and what comes back.

Guarantees of every maker: the private half is made where it stays, never exportable, for signing alone; asked again
for the same name it finds the key it made, and checks that it is what was asked for; another key of that name is
Refused. Does not: register, announce or use the key, and never sees private material.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ledger_core.errors import Refused
from ledger_core.ports import Algorithm
from ledger_core.signing.signatures import PublicKey

RSA_BITS: Final = (2048, 3072, 4096)


@dataclass(frozen=True, slots=True)
class KeySpec:
    """The kind of key: its algorithm, and `bits` of an RSA modulus (0 for Ed25519). Raises ValueError when both do not
    go together.
    """

    algorithm: Algorithm  # of its signatures
    bits: int = 0

    def __post_init__(self) -> None:
        if self.bits not in (RSA_BITS if self.algorithm == "rsa-sha256" else (0,)):
            raise ValueError(f"an {self.algorithm} key of {self.bits} bits")


@dataclass(frozen=True, slots=True)
class MadeKey:
    """The public half of the key, what its service calls it, and whether it was made just now or stood there."""

    public_key: PublicKey  # as it will be registered
    key_id: str  # what the service calls it: an ARN, a label, a name
    made: bool  # False: it stood there already


class KeyMaker(Protocol):
    """A name in a key service for which a key can be made. Raises Unavailable("signer") and Refused."""

    @property
    def name(self) -> str:
        """Which key this is, for messages; never a secret."""
        ...

    def make(self, spec: KeySpec) -> MadeKey: ...

    def close(self) -> None: ...


def check_public_key(name: str, spec: KeySpec, made: MadeKey) -> None:
    """The public half is of the algorithm and size that was asked for. Raises Refused."""
    key = made.public_key
    found = {"algorithm": key.algorithm, "bits": key.key.key_size if isinstance(key.key, RSAPublicKey) else 0}
    check_made(name, {"algorithm": spec.algorithm, "bits": spec.bits}, found)


def check_made(name: str, wanted: Mapping[str, object], found: Mapping[str, object]) -> None:
    """Raise Refused, naming what differs, unless the key is what was asked for."""
    different = [f"{it} is {found.get(it)}, not {wanted[it]}" for it in wanted if found.get(it) != wanted[it]]
    if different:
        raise Refused(
            f"{name} is there, and is another key than asked for: {', '.join(different)}",
            remedy="give the new key another name; nothing was changed",
        )
