"""Who signs what is put before a reader of signed statements, and what the reader knows of keys."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger_core.signing.purposes import Purpose
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from tests.support.archive_factory import NOW, Key

KEY, OTHER, RSA = Key(), Key(kid="other-v1"), Key("rsa-sha256")
BEFORE = dt.datetime(2025, 10, 1, tzinfo=dt.UTC)  # every statement here
AFTER = dt.datetime(2025, 12, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Trial:
    """Who signs (`key.algorithm` is what the statement declares), and what the reader knows of keys."""

    key: Key
    registry: SignerRegistry
    stands_behind: dt.datetime = NOW  # of backups, drills: the time of the list of WAL or audit event it stands behind
    held: bool = True  # of backups, drills: whether what another key signed later holds the statement's hash


def registry(**changes: object) -> SignerRegistry:
    ours = RegisteredSigner(KEY.kid, "ed25519", KEY.public)
    return SignerRegistry([*OTHER.registry.signers, dataclasses.replace(ours, **changes)])  # type: ignore[arg-type]


SOUND = Trial(KEY, registry())
# What a kind of statement does not say cannot be asked.
NO_ALGORITHM: Final = frozenset({"declares another algorithm"})
NO_TIME: Final = frozenset({"retired before", "revoked before"})


@dataclass(frozen=True)
class Reader:
    """`accepts` builds the statement by the trial's key and gives it to the reader. `asks`: the function, as
    `module.function`, that asks `ledger_core.signing.counting` for it."""

    asks: str
    accepts: Callable[[Trial], bool]
    not_said: frozenset[str] = frozenset()
    says: frozenset[Purpose] = frozenset({"proof"})  # the kinds of statement that the trial's key signs for it
    is_last: bool = False  # nothing can stand behind it yet: of a key that was revoked it never counts
