"""MAC keys: what the registry holds of one, and who is asked whether it made a MAC. Pure.

A MAC has no public key: whoever holds the secret can make it, and only the key service that has the secret can say
whether it did. So a MAC is never computed here, from no bytes whatever: it is checked by asking (`CheckMac`), or not at
all. What cannot be asked about is not sound by itself (`MacUnchecked`).
Guarantees: a key is named by its id at the service and by its check value, the MAC of one fixed text that no statement
has: another key behind the same id is found. Which statements a MAC may sign is one table
(`ledger_core.signing.purposes`).
Does not: reach a key service (`producers.signing.kms_mac_key` does), or keep who may verify from forging: only the
rights at the service do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ledger_core.hashes import is_hash
from ledger_core.ports import Algorithm

MAC_ALGORITHM: Final[Algorithm] = "hmac-sha256"
MAC_BYTES: Final = 32
# What the check value is the MAC of. What is signed has 32 bytes, and this has more, so no statement has it.
CHECK_TEXT: Final = b"finance: the MAC of this text names its key; it signs nothing\n"

CheckMac = Callable[[str, bytes, bytes], bool]
"""(key id, 32 bytes of digest, MAC) -> whether that key made it. Raises CannotAsk where the service lets nobody ask;
Unavailable when it is away."""


class CannotAsk(ValueError):
    """The key service does not answer whoever asks here; the message says why."""


@dataclass(frozen=True, slots=True)
class MacKey:
    """What is known of a MAC key without its secret. Raises ValueError when it does not name a key. `ask` None: nobody
    here can ask the key service."""

    key_id: str  # at the key service, for ever: no alias, which could be moved
    check_value: str  # MAC of CHECK_TEXT, 64 lower-case hex digits
    ask: CheckMac | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.key_id or not self.key_id.isascii() or not self.key_id.isprintable() or " " in self.key_id:
            raise ValueError(f"mac_key_id {self.key_id!r} is not the id of a key")
        if self.key_id.startswith("alias/") or ":alias/" in self.key_id:
            raise ValueError(f"mac_key_id {self.key_id!r} is an alias, which can be moved to another key")
        if not is_hash(self.check_value):
            raise ValueError("mac_check is not 64 lower-case hex digits")

    @property
    def algorithm(self) -> Algorithm:
        return MAC_ALGORITHM

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what names the key, hex: what people compare, and what the audit chain names."""
        named = f"{MAC_ALGORITHM}\n{self.key_id}\n{self.check_value}\n"
        return hashlib.sha256(named.encode("ascii")).hexdigest()

    def made(self, digest: bytes, mac: bytes) -> bool:
        """Whether this key made the MAC, as its service says. Raises CannotAsk, Unavailable."""
        if len(mac) != MAC_BYTES:
            return False
        if self.ask is None:
            raise CannotAsk("no key service is named here")
        return self.ask(self.key_id, digest, mac)
