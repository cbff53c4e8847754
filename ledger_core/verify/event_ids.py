"""Whether one id stands in two places: event ids of entries, over ranges and shards (G2), ids of audit events. Pure.

Guarantees: among the first `entries_max` places every repeated id is found and named; those beyond them are counted as
unchecked, never passed silently. Memory is 16 bytes a place and one part's set (PART_IDS_MAX ids).
Does not: say where the id stands. In Postgres a unique index asks the same of every entry, without a limit.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Final

from ledger_core.findings import Collector

EVENT_IDS_MAX: Final = 16_000_000  # entries: 256 MB
PART_IDS_MAX: Final = 1_000_000
ID_BYTES: Final = 16
_CHUNK: Final = struct.Struct("16s" * 4096)
# Of a canonical entry, whose first key is event_id: `{"event_id":"` and 36 characters.
_TEXT: Final = slice(13, 49)


def pack_ids(lines: Sequence[bytes]) -> bytes:
    """The event ids of canonical entries, 16 bytes each; none of a line without a UUID there (a finding of its own)."""
    try:
        packed = bytes.fromhex(b"".join([line[_TEXT] for line in lines]).replace(b"-", b"").decode())
    except ValueError:
        packed = b""
    if len(packed) == ID_BYTES * len(lines):
        return packed
    return b"".join(pack_ids([line]) for line in lines) if len(lines) > 1 else b""


def pack_text(text: str) -> bytes:
    """An id that may be any text."""
    return hashlib.sha256(text.encode()).digest()[:ID_BYTES]


class EventIds:
    """The ids of an archive or of a chain, as they are met."""

    def __init__(self, entries_max: int = EVENT_IDS_MAX) -> None:
        self._bytes_max = entries_max * ID_BYTES
        self._packed = bytearray()
        self._unchecked = 0

    def add(self, packed: bytes) -> None:
        """Take packed ids; those beyond the limit are only counted."""
        room = max(0, self._bytes_max - len(self._packed))
        self._packed += packed[:room]
        self._unchecked += max(0, len(packed) - room) // ID_BYTES

    @property
    def count(self) -> int:
        """How many are held."""
        return len(self._packed) // ID_BYTES

    def each(self, first: int) -> Iterator[bytes]:
        """The packed ids from place `first` on, in the order in which they came."""
        for at in range(first, self.count, 4096):
            yield from struct.unpack_from("16s" * min(4096, self.count - at), self._packed, at * ID_BYTES)

    @property
    def unchecked(self) -> int:
        """How many came beyond the limit."""
        return self._unchecked

    def check(self, found: Collector) -> None:
        """A finding for each id that was met twice."""
        if self._unchecked:
            found.count("event_ids_unchecked", self._unchecked)
        for _, packed in self.repeats():
            text = packed.hex()
            uuid = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
            found.add("archive.event_id", f"event id {uuid} stands in two entries", field="event_id")

    def repeats(self) -> Iterator[tuple[int, bytes]]:
        """Each id that was met before, with its place from 0 on."""
        parts = 1
        while len(self._packed) // ID_BYTES > parts * PART_IDS_MAX and parts < 256:
            parts *= 2
        last_bytes = self._packed[ID_BYTES - 1 :: ID_BYTES]  # of a UUID random, or of a hash
        for part in range(parts):
            mask = last_bytes.translate(bytes(int(byte % parts == part) for byte in range(256)))
            seen: set[bytes] = set()
            met = 0
            for chunk in self._chunks(mask):
                met += len(chunk)
                seen.update(chunk)
            if met != len(seen):
                yield from self._repeats_of(part, parts)

    def _repeats_of(self, part: int, parts: int) -> Iterator[tuple[int, bytes]]:
        seen: set[bytes] = set()
        for place, packed in enumerate(self.each(0)):
            if packed[-1] % parts == part:
                if packed in seen:
                    yield place, packed
                seen.add(packed)

    def _chunks(self, mask: bytearray) -> Iterator[list[bytes]]:
        count = len(mask)
        at = 0
        while at + 4096 <= count:
            yield list(compress(_CHUNK.unpack_from(self._packed, at * ID_BYTES), mask[at : at + 4096]))
            at += 4096
        rest = struct.unpack_from("16s" * (count - at), self._packed, at * ID_BYTES)
        yield list(compress(rest, mask[at:]))
