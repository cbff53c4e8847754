"""The hash chain: each link commits to its own bytes and, through the link before it, to all history.

Guarantees: the digest Kernel's verifier computes, `SHA256(canonical || previous 32 raw bytes)`, where genesis appends
nothing. It does not read what it chains: form and balance are checked by others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

HASH_BYTES: Final = 32


def link(canonical: bytes, prev_hash: bytes | None) -> bytes:
    """The 32-byte hash of `canonical` chained after `prev_hash` (None at genesis). Raises ValueError on bad length."""
    if prev_hash is None:
        return hashlib.sha256(canonical).digest()
    if len(prev_hash) != HASH_BYTES:
        raise ValueError(f"a previous hash has {HASH_BYTES} bytes, not {len(prev_hash)}")
    return hashlib.sha256(canonical + prev_hash).digest()


def link_all(canonicals: Iterable[bytes], prev_hash: bytes | None) -> list[bytes]:
    """The links of many items in order: `[link(c0, prev), link(c1, that), ...]`, without a call for each. Raises
    ValueError when a hash has another length.
    """
    if prev_hash is not None and len(prev_hash) != HASH_BYTES:
        raise ValueError(f"a previous hash has {HASH_BYTES} bytes, not {len(prev_hash)}")
    sha256 = hashlib.sha256
    head = prev_hash or b""
    return [head := sha256(canonical + head).digest() for canonical in canonicals]
