"""Chunks of a chain, and the keys by which entries are found in them. Pure.

A chunk is 2^18 consecutive entries of a shard. The key of a name (an event, settlement, order or reference) begins with
the chunk, and goes on with a digest of the name: so what is being written stands close together in an index, however
large the index is, and a question probes each chunk once. So does the index of an account's lines.
Guarantees: keys depend on the chain alone. A digest that nobody can aim at: no publisher makes names meet.
Does not: identify: two names may meet by chance, so whoever asks compares the name too.
"""

from __future__ import annotations

import hashlib
from typing import Final

CHUNK_BITS: Final = 18
CHUNK_ENTRIES: Final = 1 << CHUNK_BITS
CHUNKS_A_SHARD_BITS: Final = 17  # 34 billion entries; shards up to 16,383
DIGEST_BYTES: Final = 4


def chunk_of(seq: int) -> int:
    """The chunk that an entry is in, from 0."""
    return (seq - 1) >> CHUNK_BITS


def slot_of(shard: int, chunk: int) -> int:
    """The first half of the keys of a chunk: 31 bits."""
    return shard << CHUNKS_A_SHARD_BITS | chunk


def digest_of(name: str) -> bytes:
    """The second half of the key of a name."""
    return hashlib.sha256(name.encode()).digest()[:DIGEST_BYTES]
