"""Changing a signers.json that others keep their keys in too: bytes in, bytes out.

Guarantees: of every other signer, and of fields we do not know, nothing changes, whichever of the three shapes the file
has; a kid is never given to another key and never removed, a revocation is never undone; what comes out is a registry
that can be read, and the same change made twice changes nothing the second time.
Does not: read or write files (`finance.wiring.registry_file`), or decide when a key is retired.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Final

import orjson

from ledger_core.signing.registry import KID_FIELDS, RegisteredSigner, SignerRegistry, write_signer
from ledger_core.signing.validity import FIELD

EMPTY: Final = b'{"signers": []}\n'
# What may change of a signer that is there; kid, algorithm, key, deployedAt and what it signs never do.
_CHANGING: Final = ("retiredAt", "revokedAt", FIELD, "description")


def with_signers(data: bytes, signers: Iterable[RegisteredSigner]) -> bytes:
    """The registry with these signers as they are given: added, or their changing fields set.

    Raises ValueError when the file is not sound, or a kid stands there for another key.
    """
    before = SignerRegistry.from_json(data, foreign=True)
    document = orjson.loads(data)
    for signer in signers:
        known = before.find(signer.kid)
        if known is None:
            _add(document, signer)
            continue
        if known.public_key != signer.public_key:
            raise ValueError(
                f"signer {signer.kid} stands there with another key ({known.public_key.fingerprint[:16]}...)"
            )
        if known.signs != signer.signs:
            raise ValueError(f"what signer {signer.kid} signs never changes: register a key of its own for other kinds")
        if known.revoked_at is not None and signer.revoked_at is None:
            raise ValueError(f"signer {signer.kid} is revoked there, and a revoked key never comes back")
        _change(_entry(document, signer.kid), signer)
    if document == orjson.loads(data):
        return data
    changed = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    SignerRegistry.from_json(changed, foreign=True)
    return changed


def diff(before: bytes, after: bytes, name: str) -> str:
    """What changes, as a unified diff; empty when nothing does."""
    old, new = (data.decode("utf-8", "replace").splitlines() for data in (before, after))
    return "\n".join(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm=""))


def _add(document: Any, signer: RegisteredSigner) -> None:
    holder = document["signers"] if isinstance(document, dict) and "signers" in document else document
    if isinstance(holder, list):
        holder.append(write_signer(signer))
    else:
        holder[signer.kid] = write_signer(signer)


def _entry(document: Any, kid: str) -> dict[str, object]:
    holder = document["signers"] if isinstance(document, dict) and "signers" in document else document
    if isinstance(holder, dict):
        found: dict[str, object] = holder[kid]
        return found
    return next(item for item in holder if any(item.get(name) == kid for name in KID_FIELDS))


def _change(entry: dict[str, object], signer: RegisteredSigner) -> None:
    wanted = write_signer(signer)
    for spelling in ("retired_at", "revoked_at"):
        entry.pop(spelling, None)
    for name in _CHANGING:
        if name in wanted and (wanted[name] or name != "description"):
            entry[name] = wanted[name]
        elif name != "description":
            entry.pop(name, None)
