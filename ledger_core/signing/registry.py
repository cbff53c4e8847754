"""The signer registry: which public key stands behind a signer_kid, now and in the past.

Guarantees: reads every shape Kernel's verifier reads (an object with `signers`, a bare array, a map kid -> object; a
key as PEM, base64 DER or base64 raw Ed25519) and is stricter where Kernel is silent: an algorithm in another
spelling, a key of another kind than its algorithm, a kid twice, a bare `kid: PEM`, a field that is not ours and two
spellings that contradict each other are refused, never passed over.
A MAC key has no public key: `mac_key_id` and `mac_check` name it, and only what holds `asking` checks what it made.
Retired keys stay in the registry, or the history they signed would stop verifying; `validity` says of which history
(`ledger_core.signing.validity`). It reads no file.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable
from typing import Final

import orjson

from ledger_core import strict_json
from ledger_core.ports import Algorithm
from ledger_core.signing.mac_keys import CheckMac, MacKey
from ledger_core.signing.registered_signer import RegisteredSigner, check_kid
from ledger_core.signing.signatures import PublicKey
from ledger_core.signing.signer_form import KID_FIELDS, read_signer, write_signer, written_key

__all__ = ["KID_FIELDS", "RegisteredSigner", "SignerRegistry", "check_kid", "write_signer", "written_key"]

SIGNERS_MAX: Final = 10_000
BYTES_MAX: Final = 64 * 1024 * 1024


class SignerRegistry:
    """An immutable set of signers, looked up by kid. Raises ValueError when a kid stands there twice."""

    __slots__ = ("_by_kid",)

    def __init__(self, signers: Iterable[RegisteredSigner]) -> None:
        self._by_kid: dict[str, RegisteredSigner] = {}
        for signer in signers:
            if signer.kid in self._by_kid:
                raise ValueError(f"signer {signer.kid} is registered twice")
            self._by_kid[signer.kid] = signer

    @classmethod
    def from_json(cls, data: bytes, *, foreign: bool = False) -> SignerRegistry:
        """Read a signers.json of any of the three shapes. Raises ValueError naming the signer and what is wrong.

        `foreign`: the file is kept by others too (Kernel's): fields that are not ours are passed over, unless they are
        ours misspelt."""
        if len(data) > BYTES_MAX:
            raise ValueError(f"a signer registry has at most {BYTES_MAX} bytes")
        document = strict_json.loads(data)
        items: list[tuple[str | None, object]]
        signers = document.get("signers") if isinstance(document, dict) else document
        if isinstance(document, dict) and not isinstance(signers, list | dict):
            signers = document
        elif isinstance(document, dict) and len(document) > 1 and not foreign:
            raise ValueError("beside `signers` nothing stands in a signer registry")
        if isinstance(signers, list):
            items = [(None, item) for item in signers]
        elif isinstance(signers, dict):
            items = list(signers.items())
        else:
            raise ValueError("a signer registry is an object or an array")
        if len(items) > SIGNERS_MAX:
            raise ValueError(f"a signer registry has at most {SIGNERS_MAX} signers")
        return cls(read_signer(kid, item, foreign=foreign) for kid, item in items)

    def get(self, kid: str) -> RegisteredSigner:
        """The signer of that name. Raises KeyError with the names that are known."""
        signer = self._by_kid.get(kid)
        if signer is None:
            known = ", ".join(sorted(self._by_kid)) or "none"
            raise KeyError(f"signer {kid!r} is not in the registry (known: {known})")
        return signer

    def find(self, kid: str) -> RegisteredSigner | None:
        """The signer of that name, or None."""
        return self._by_kid.get(kid)

    def asking(self, ask: CheckMac) -> SignerRegistry:
        """The same registry, with somebody who asks the key service about MACs."""

        def asked(signer: RegisteredSigner) -> RegisteredSigner:
            key = signer.public_key
            return (
                dataclasses.replace(signer, public_key=dataclasses.replace(key, ask=ask))
                if isinstance(key, MacKey)
                else signer
            )

        return SignerRegistry(map(asked, self.signers))

    @property
    def has_macs(self) -> bool:
        """Whether any of them is a MAC key."""
        return any(signer.is_mac for signer in self.signers)

    def find_by_key(self, public_key: PublicKey | MacKey) -> RegisteredSigner | None:
        """The signer that holds this key, preferring one that is not retired; None when there is none."""
        found = [signer for signer in self._by_kid.values() if signer.public_key == public_key]
        return min(found, key=lambda signer: signer.retired_at is not None, default=None)

    def only_unretired(self, algorithm: Algorithm, now: dt.datetime) -> RegisteredSigner | None:
        """The one signer of an algorithm that is not retired at `now`; None when there is none, or more than one."""
        found = [
            signer
            for signer in self._by_kid.values()
            if signer.algorithm == algorithm and (signer.retired_at is None or signer.retired_at > now)
        ]
        return found[0] if len(found) == 1 else None

    @property
    def signers(self) -> tuple[RegisteredSigner, ...]:
        return tuple(self._by_kid.values())

    def with_signer(self, signer: RegisteredSigner) -> SignerRegistry:
        """A registry with one signer more. Raises ValueError when its kid is taken."""
        return SignerRegistry((*self.signers, signer))

    def to_json(self) -> bytes:
        """The shape Kernel's tools publish, indented for people, LF at the end."""
        document = {"signers": [write_signer(signer) for signer in self.signers]}
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
