"""Whether one event id stands in two entries, over ranges and shards (G2): 16 bytes an entry, up to a limit. Pure.

Guarantees: among the first `entries_max` entries every repeated event id is found and named; entries beyond them are
counted as unchecked, never passed silently. Memory is 16 bytes an entry and one part's set (PART_IDS_MAX ids).
Does not: say where the id stands. In Postgres a unique index asks the same of every entry, without a limit.
"""

from __future__ import annotations

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


class EventIds:
    """The event ids of an archive, as they are met."""

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

    def check(self, found: Collector) -> None:
        """A finding for each id that was met twice."""
        if self._unchecked:
            found.count("event_ids_unchecked", self._unchecked)
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
                self._name(mask, found)

    def _name(self, mask: bytearray, found: Collector) -> None:
        seen: set[bytes] = set()
        for chunk in self._chunks(mask):
            for packed in chunk:
                if packed in seen:
                    text = packed.hex()
                    uuid = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
                    found.add("archive.event_id", f"event id {uuid} stands in two entries", field="event_id")
                seen.add(packed)

    def _chunks(self, mask: bytearray) -> Iterator[list[bytes]]:
        count = len(mask)
        at = 0
        while at + 4096 <= count:
            yield list(compress(_CHUNK.unpack_from(self._packed, at * ID_BYTES), mask[at : at + 4096]))
            at += 4096
        rest = struct.unpack_from("16s" * (count - at), self._packed, at * ID_BYTES)
        yield list(compress(rest, mask[at:]))
