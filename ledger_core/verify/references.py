"""Whether reversals and verdicts refer to entries as posting lets them. Pure.

A reversal and a duplicate name an entry that their shard posted before. A rejection that names an event id gives it a
verdict, or follows one: so its shard posts nothing under that id behind it (G2).

Guarantees: of the first `references_max` references of a shard each that breaks this is found and named;
those beyond, and all of a shard whose entries are not all known, are counted as unchecked, never passed silently.
Memory is 24 bytes a reference and one part's index (PART_REFERENCES_MAX).
Does not: say that a duplicate had the entry's content: the archive keeps its hash alone, and an entry has none of its
personal data. In Postgres `verify ledger` has the same rows and the poster's own look-up.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ledger_core.books.event_rules import UUID_FORM, is_uuid
from ledger_core.findings import Collector
from ledger_core.posting.verdicts import VerdictLine
from ledger_core.verify.event_ids import EventIds

REFERENCES_MAX: Final = 2_000_000  # of a shard: 48 MB
PART_REFERENCES_MAX: Final = 250_000
_REFERENCE: Final = struct.Struct(">16sq")  # the id named, and the first seq that may not have it any more
# In canonical JSON a quote inside of a text is escaped: only the key itself reads so.
_REVERSES: Final = re.compile(rb'"reverses":"(%s)"' % UUID_FORM.encode())
REVERSES_KEY: Final = b'"reverses":"'


def reversals(lines: Sequence[bytes], first_seq: int) -> bytes:
    """The packed references of canonical entries `first_seq`, `first_seq` + 1, ...: what each reverses."""
    packed = []
    for seq, line in enumerate(lines, first_seq):
        found = _REVERSES.search(line)
        if found is not None:
            packed.append(_REFERENCE.pack(bytes.fromhex(found[1].decode().replace("-", "")), seq))
    return b"".join(packed)


def duplicates(verdicts: Iterable[VerdictLine], offsets: Sequence[int], first_seq: int) -> bytes:
    """The packed references of a range's verdicts: what each duplicate repeats. `offsets` are those of its entries."""
    packed = []
    for verdict in verdicts:
        if verdict.verdict == "duplicate" and verdict.event_id is not None and is_uuid(verdict.event_id):
            bound = first_seq + bisect_left(offsets, int(verdict.offset))
            packed.append(_REFERENCE.pack(bytes.fromhex(verdict.event_id.replace("-", "")), bound))
    return b"".join(packed)


def rejections(verdicts: Iterable[VerdictLine], offsets: Sequence[int], first_seq: int) -> bytes:
    """The same of what was rejected under an event id; the complement of the seq marks that none may follow."""
    packed = []
    for verdict in verdicts:
        if verdict.verdict == "rejected" and verdict.event_id is not None and is_uuid(verdict.event_id):
            bound = first_seq + bisect_left(offsets, int(verdict.offset))
            packed.append(_REFERENCE.pack(bytes.fromhex(verdict.event_id.replace("-", "")), ~bound))
    return b"".join(packed)


class References:
    """The references of one shard, as its ranges are met."""

    def __init__(self, references_max: int = REFERENCES_MAX) -> None:
        self._bytes_max = references_max * _REFERENCE.size
        self._packed = bytearray()
        self._unchecked = 0

    def add(self, packed: bytes) -> None:
        """Take packed references; those beyond the limit are only counted."""
        room = max(0, self._bytes_max - len(self._packed))
        self._packed += packed[:room]
        self._unchecked += max(0, len(packed) - room) // _REFERENCE.size

    def check(self, ids: EventIds, first: int, last_seq: int, found: Collector) -> None:
        """A finding for each that names no entry before it, and for each rejection that names one behind it. The
        shard's ids stand in `ids` from place `first` on, in order of seq from 1; they are not all known unless there
        are `last_seq` of them."""
        whole = ids.count - first == last_seq
        count = len(self._packed) // _REFERENCE.size
        unchecked = self._unchecked if whole else self._unchecked + count
        if unchecked:
            found.count("references_unchecked", unchecked)
        if not whole or not count:
            return
        found.count("references", count)
        parts = 1
        while count > parts * PART_REFERENCES_MAX and parts < 256:
            parts *= 2
        for part in range(parts):
            wanted = {named for named, _ in self._of(part, parts)}
            posted: dict[bytes, int] = {}
            for seq, event_id in enumerate(ids.each(first), 1):
                if event_id in wanted:
                    posted.setdefault(event_id, seq)
            for named, bound in self._of(part, parts):
                place = posted.get(named)
                if bound < 0:
                    if place is not None and place >= ~bound:
                        _report_posted(named, ~bound, place, found)
                elif place is None or place >= bound:
                    _report(named, bound, place, found)

    def _of(self, part: int, parts: int) -> Iterator[tuple[bytes, int]]:
        return (item for item in _REFERENCE.iter_unpack(self._packed) if item[0][-1] % parts == part)


def _report(named: bytes, bound: int, seq: int | None, found: Collector) -> None:
    where = "which its shard has not posted" if seq is None else f"which its shard posts later, as seq {seq}"
    message = f"what stands before seq {bound + 1} refers to event id {_uuid(named)}, {where}"
    found.add("archive.reference", message, seq=bound, field="event_id")


def _report_posted(named: bytes, bound: int, seq: int, found: Collector) -> None:
    message = f"event id {_uuid(named)} was rejected before seq {bound}, and its shard posts it as seq {seq}"
    found.add("archive.verdict", message, seq=seq, field="event_id")


def _uuid(packed: bytes) -> str:
    text = packed.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
