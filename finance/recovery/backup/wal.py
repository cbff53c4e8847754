"""The arithmetic of WAL: positions, segment names, timelines. Pure (Postgres documentation, "WAL Internals").

A position (LSN) is a byte offset; a segment is `segment_bytes` of it; a timeline is one line of WAL of a cluster, and
its history says at which position it left its parent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SEGMENT_NAME: Final = re.compile(r"[0-9A-F]{24}")
HISTORY_NAME: Final = re.compile(r"[0-9A-F]{8}\.history")
PARTIAL: Final = ".partial"
_HALF: Final = 2**32


def parse_lsn(text: str) -> int:
    """`16/B374D848` -> bytes. Raises ValueError."""
    if not re.fullmatch(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}", text):
        raise ValueError(f"{text!r} is not a WAL position like 0/3000028")
    high, _, low = text.partition("/")
    return int(high, 16) * _HALF + int(low, 16)


def format_lsn(lsn: int) -> str:
    return f"{lsn // _HALF:X}/{lsn % _HALF:X}"


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One WAL file: `number` counts segments from the beginning of all WAL."""

    timeline: int  # from 1
    number: int

    def name(self, segment_bytes: int) -> str:
        per_log = _HALF // segment_bytes
        return f"{self.timeline:08X}{self.number // per_log:08X}{self.number % per_log:08X}"


def parse_segment(name: str, segment_bytes: int) -> Segment:
    """Raises ValueError on anything that is not a segment's name."""
    if not SEGMENT_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a WAL segment")
    timeline, log, number = (int(name[at : at + 8], 16) for at in (0, 8, 16))
    return Segment(timeline, log * (_HALF // segment_bytes) + number)


def history_name(timeline: int) -> str:
    return f"{timeline:08X}.history"


def parse_history(text: str) -> tuple[tuple[int, int], ...]:
    """(parent timeline, position at which it was left), oldest first. Raises ValueError."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return tuple((int(parts[0]), parse_lsn(parts[1])) for parts in lines)


def leads_to(timeline: int, lsn: int, life: int, histories: Mapping[int, Sequence[tuple[int, int]]]) -> bool:
    """Whether the position on that timeline is part of the past of `life`."""
    return timeline == life or any(p == timeline and left_at >= lsn for p, left_at in histories.get(life, ()))


def newest_descendant(timeline: int, start_lsn: int, histories: Mapping[int, Sequence[tuple[int, int]]]) -> int:
    """The newest timeline that goes through `timeline` at `start_lsn`: where recovery to the latest ends."""
    return max([timeline, *(child for child in histories if leads_to(timeline, start_lsn, child, histories))])


def path_of(
    timeline: int, histories: Mapping[int, Sequence[tuple[int, int]]], numbers: Iterable[int], segment_bytes: int
) -> list[Segment]:
    """Of which timeline each segment is read on the way to `timeline`: a child's first segment repeats its parent's."""
    history = histories.get(timeline, ())
    segments = []
    for number in numbers:
        owner = next((parent for parent, left_at in history if number < left_at // segment_bytes), timeline)
        segments.append(Segment(owner, number))
    return segments
