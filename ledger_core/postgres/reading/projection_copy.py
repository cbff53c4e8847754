"""Rows of a projection's large tables as PostgreSQL's binary COPY format. Pure.

As `ledger_core.postgres.posting.copy_binary`, and for its reason: the driver's adapters cost five times that. Source:
PostgreSQL documentation, COPY, "Binary Format"; an array is dimensions, flags, type, length, lower bound, elements.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from ledger_core.postgres.posting.copy_binary import HEADER, TRAILER
from ledger_core.reading.rows import ProjectedEntry

ENTRY_COLUMNS: Final = (
    "shard, seq, known_month, source_offset, occurred_at, recorded_at, known_at, effective_day, event_id, entry_hash, "
    "event_type, settlement_id, order_id, provider, reference, reverses, series_nos, amounts_minor"
)
LINE_COLUMNS: Final = "shard, series_no, seq, line_no, position, known_month, effective_day, amount_minor"
_PG_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01, from which timestamptz counts microseconds
_PG_EPOCH_DAY: Final = 10_957  # ... and date counts days
_ENTRY: Final = struct.Struct(">h ii iq ii iq iq iq iq ii i16s i32s")
_LINE: Final = struct.Struct(">h ii ii iq ih iq ii ii iq")
_SIZE: Final = struct.Struct(">i").pack
_NULL: Final = _SIZE(-1)
_INT4_ARRAY: Final = struct.Struct(">iiiiii").pack  # size, dimensions, flags, type, length, lower bound
_INT4_OID, _INT8_OID = 23, 20

Placed = tuple[int, int, int]
"""A line in its series: (series_no, position, amount in minor units: a debit positive)."""


def packed_entries(rows: Iterable[ProjectedEntry], lines: Iterable[Sequence[Placed]]) -> bytes:
    """Rows for `entries (ENTRY_COLUMNS)`; `lines` of each, as (series_no, position, amount)."""
    parts = [HEADER]
    for row, legs in zip(rows, lines, strict=True):
        times = [8, row.occurred_us - _PG_EPOCH_US, 8, row.recorded_us - _PG_EPOCH_US, 8, row.known_us - _PG_EPOCH_US]
        front = (18, 4, row.shard, 8, row.seq, 4, row.known_month, 8, row.source_offset, *times)
        day = row.effective_day - _PG_EPOCH_DAY
        parts.append(_ENTRY.pack(*front, 4, day, 16, _uuid(row.event_id), 32, row.entry_hash))
        for text in (row.event_type, row.settlement_id, row.order_id, row.provider, row.reference):
            parts.append(_NULL if text is None else _text(text))
        parts.append(_NULL if row.reverses is None else _SIZE(16) + _uuid(row.reverses))
        count = len(legs)
        parts.append(_INT4_ARRAY(20 + 8 * count, 1, 0, _INT4_OID, count, 1))
        parts.append(struct.pack(">" + "ii" * count, *(part for leg in legs for part in (4, leg[0]))))
        parts.append(_INT4_ARRAY(20 + 12 * count, 1, 0, _INT8_OID, count, 1))
        parts.append(struct.pack(">" + "iq" * count, *(part for leg in legs for part in (8, leg[2]))))
    parts.append(TRAILER)
    return b"".join(parts)


def packed_lines(rows: Iterable[ProjectedEntry], lines: Iterable[Sequence[Placed]]) -> bytes:
    """Rows for `lines (LINE_COLUMNS)`."""
    parts = [HEADER]
    for row, legs in zip(rows, lines, strict=True):
        month, day = row.known_month, row.effective_day - _PG_EPOCH_DAY
        for line_no, (series_no, position, amount) in enumerate(legs, 1):
            values = (4, row.shard, 4, series_no, 8, row.seq, 2, line_no, 8, position, 4, month, 4, day, 8, amount)
            parts.append(_LINE.pack(8, *values))
    parts.append(TRAILER)
    return b"".join(parts)


def _uuid(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))


def _text(text: str) -> bytes:
    data = text.encode()
    return _SIZE(len(data)) + data
