"""One key with its name, as the signer registry holds it: what it may sign, until when, and for which history. Pure.

Guarantees: a key that is named with another algorithm than its own, a MAC key for what no MAC may sign, and one that is
revoked and could sign still cannot be constructed.
Does not: read or write the registry (`signer_form`, `registry`), or judge a signature (`counting`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from ledger_core.ports import Algorithm
from ledger_core.signing.mac_keys import MacKey
from ledger_core.signing.purposes import MAC_MAY_SIGN, PURPOSES, Purpose, write_purposes
from ledger_core.signing.signatures import PublicKey
from ledger_core.signing.validity import Validity


@dataclass(frozen=True, slots=True)
class RegisteredSigner:
    """One key with its name. `retired_at` is the moment after which it no longer signs; its history stays valid, as far
    as `validity` (None: everywhere) reaches. `revoked_at`: it may be in other hands since. `signs`: the kinds of
    statement it counts for (None: every kind that its algorithm may sign). Raises ValueError when the key is of
    another algorithm, is a MAC key for what a MAC may not sign, or is revoked and not retired."""

    kid: str  # name of the key, unique in the registry
    algorithm: Algorithm  # of the key; a signature of another one never counts
    public_key: PublicKey | MacKey  # checked; see signatures. Of a MAC key: what names it
    deployed_at: dt.datetime | None = None  # UTC; when it began to sign, for people
    retired_at: dt.datetime | None = None
    description: str = ""  # for people
    validity: Validity | None = None
    revoked_at: dt.datetime | None = None
    signs: frozenset[Purpose] | None = None

    def __post_init__(self) -> None:
        check_kid(self.kid)
        if self.algorithm != self.public_key.algorithm:
            raise ValueError(f"signer {self.kid}: the key is {self.public_key.algorithm}, not {self.algorithm}")
        if self.is_mac and self.signs is not None and self.signs - self.counts_for:
            allowed = ", ".join(write_purposes(self.counts_for)) or "nothing of these"
            raise ValueError(f"signer {self.kid} is a MAC key, which may sign {allowed} alone")
        if self.revoked_at is not None and self.retired_at is None:
            raise ValueError(f"signer {self.kid} is revoked, and not retired: it could sign still")

    def lacks(self, purposes: Iterable[Purpose]) -> tuple[Purpose, ...]:
        """Those of the kinds that its signatures do not count for."""
        return tuple(it for it in PURPOSES if it in {*purposes} - self.counts_for)

    @property
    def is_mac(self) -> bool:
        """Whether it is a MAC key: no stranger can check what it makes."""
        return isinstance(self.public_key, MacKey)

    @property
    def public_pem(self) -> str:
        """PEM SPKI. Raises ValueError for a MAC key: it has none."""
        if isinstance(self.public_key, MacKey):
            raise ValueError(f"signer {self.kid} is a MAC key, which has no public key")
        return self.public_key.pem

    @property
    def counts_for(self) -> frozenset[Purpose]:
        """The kinds of statement that its signatures count for."""
        signs = frozenset(PURPOSES) if self.signs is None else self.signs
        return frozenset(it for it in signs if MAC_MAY_SIGN[it]) if self.is_mac else signs

    def ended_by(self, moment: dt.datetime) -> bool:
        """Whether the key had ended before that moment: a statement made at that very moment still counts."""
        ends = [end for end in (self.retired_at, self.revoked_at) if end is not None]
        return bool(ends) and moment > min(ends)

    def shard_fault(self, shard: int, seq: int, head_hash: str | None = None, *, chained: bool = True) -> str | None:
        """Why a statement about a shard up to `seq` does not count, in words that follow the kid; None when it does."""
        if self.validity is None:
            return None
        why = self.validity.shard(shard).fault(seq, head_hash, chained=chained)
        return why and f"{why} of shard {shard}"

    def pins_shard(self, shard: int, seq: int, head_hash: str | None) -> bool:
        """Whether the key's end in that shard is this very head."""
        return self.validity is not None and self.validity.shard(shard).pins(seq, head_hash)

    def audit_fault(self, seq: int, event_hash: str | None) -> str | None:
        """Why an event of the audit chain does not count, in words that follow the kid; None when it does."""
        reach = None if self.validity is None else self.validity.audit
        why = None if reach is None else reach.fault(seq, event_hash)
        return why and f"{why} of the audit chain"


def check_kid(kid: str) -> str:
    """The kid. Raises ValueError on a name that no signer can have. It is the key name of a signed note too (C2SP): no
    blanks, no plus sign."""
    if not kid or not kid.isprintable() or " " in kid or "+" in kid:
        raise ValueError(f"signer_kid {kid!r} must be printable text without blanks and plus signs")
    return kid
