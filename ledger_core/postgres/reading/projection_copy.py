"""Rows of a projection's large tables as PostgreSQL's binary COPY format, and what a batch adds to sums. Pure.

As `ledger_core.postgres.posting.copy_binary`, and for its reason: the driver's adapters cost five times that. Source:
PostgreSQL documentation, COPY, "Binary Format"; an array is dimensions, flags, type, length, lower bound, elements.
One pass over a batch makes all of it: touching each entry again costs more than packing it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger_core.postgres.posting.copy_binary import HEADER, TRAILER
from ledger_core.postgres.reading.projection_series import Series
from ledger_core.postgres.reading.projection_totals import OpenTotals
from ledger_core.reading.blocks import BLOCK_LINES
from ledger_core.reading.chunks import CHUNK_ENTRIES, DIGEST_BYTES, chunk_of, slot_of
from ledger_core.reading.rows import DAY_US, ProjectedEntry, month_of

ENTRY_COLUMNS: Final = (
    "shard, known_month, seq, source_offset, occurred_at, recorded_at, known_at, effective_day, entry_hash, event_id, "
    "event_key, event_type, settlement_key, settlement_id, order_key, order_id, provider, reference_key, reference, "
    "reverses, series_nos, amounts_minor"
)
LINE_COLUMNS: Final = "slot, known_month, seq, effective_day, line_no, series_no, position, amount_minor"
_PG_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01, from which timestamptz counts microseconds
_PG_EPOCH_DAY: Final = 10_957  # ... and date counts days
_ENTRY_FRONT: Final = struct.Struct(">hihih").pack  # 22 fields; shard, known_month
_ENTRY: Final = struct.Struct(">14siqiqiqiqiqiii32si16s").pack
_LINE_FRONT: Final = struct.Struct(">hiiih").pack  # 8 fields; slot, known_month
_LINE_ENTRY: Final = struct.Struct(">16siqii").pack  # ... seq, effective_day
_LINE: Final = struct.Struct(">36sihiiiqiq").pack
_KEY: Final = struct.Struct(">i4s4si").pack  # size, slot, digest; size of the name that follows
_SLOT: Final = struct.Struct(">i").pack
_SIZE: Final = struct.Struct(">i").pack
_NULL: Final = _SIZE(-1)
_INT4_ARRAY: Final = struct.Struct(">iiiiii").pack  # size, dimensions, flags, type, length, lower bound
_INT4_OID, _INT8_OID = 23, 20


@dataclass(slots=True)
class Packed:
    """What a batch comes to."""

    entries: bytes = b""  # rows for `entries (ENTRY_COLUMNS)`
    lines: bytes = b""  # rows for `lines (LINE_COLUMNS)`
    places: list[tuple[int, int]] = field(default_factory=list)  # (chunk, known_month), each once, in order
    first_chunks: dict[int, int] = field(default_factory=dict)  # of series that had no line: series_no -> chunk
    moved: dict[int, Series] = field(default_factory=dict)  # series that had no line in a chunk, by series_no
    ends: list[tuple[Series, int, int, int]] = field(default_factory=list)  # series, seq, line_no, lines: a full block


def packed(rows: Sequence[ProjectedEntry], series: Mapping[tuple[str, str], Series], totals: OpenTotals) -> Packed:
    """Give each line of new entries its place, and pack all of them. `series` and `totals` go on behind them."""
    found = Packed()
    entries, lines = [HEADER], [HEADER]
    place = (-1, -1)
    front = line_front = slot = b""
    chunk_end = 0
    for row in rows:
        month = month_of(row.known_us)
        if row.seq > chunk_end or place[1] != month:
            chunk = chunk_of(row.seq)
            place, chunk_end = (chunk, month), (chunk + 1) * CHUNK_ENTRIES
            found.places.append(place)
            front = _ENTRY_FRONT(22, 2, row.shard, 2, month)
            slot = _SLOT(slot_of(row.shard, chunk))
            line_front = _LINE_FRONT(8, 4, slot_of(row.shard, chunk), 2, month)
        day = row.occurred_us // DAY_US
        legs = _pack_lines(row, series, found, lines, totals.cells, line_front, place[0], day)
        _pack_entry(row, front, slot, day, legs, entries)
        if row.seq % BLOCK_LINES == 0:
            totals.close_block(row.seq, row.known_us)
    for parts in (entries, lines):
        parts.append(TRAILER)
    found.entries, found.lines = b"".join(entries), b"".join(lines)
    return found


def _pack_lines(
    row: ProjectedEntry,
    series: Mapping[tuple[str, str], Series],
    found: Packed,
    lines: list[bytes],
    cells: dict[tuple[tuple[str, str], int], list[int]],
    front: bytes,
    chunk: int,
    day: int,
) -> list[int]:
    """The lines of an entry; comes back as the parts of its two arrays, (4, series_no, ...) then (8, amount, ...)."""
    seq = row.seq
    nos: list[int] = []
    amounts: list[int] = []
    entry_front = _LINE_ENTRY(front, 8, seq, 4, day - _PG_EPOCH_DAY)
    line_no = 0
    for leg in row.legs:
        it, amount = series[leg.account, leg.currency], leg.amount_minor
        line_no += 1  # noqa: SIM113  # enumerate costs a tuple a line
        it.lines = position = it.lines + 1
        lines.append(_LINE(entry_front, 2, line_no, 4, it.no, 8, position, 8, amount))
        nos += (4, it.no)
        amounts += (8, amount)
        if it.last_chunk != chunk:
            if it.last_chunk < 0:
                found.first_chunks[it.no] = chunk
            it.last_chunk = chunk
            found.moved[it.no] = it
        if position % BLOCK_LINES == 0:
            found.ends.append((it, seq, line_no, position))
        cell = cells.get((it.kind, day))
        if cell is None:
            cell = cells[it.kind, day] = [0, 0]
        cell[amount < 0] += abs(amount)
    return nos + amounts


def _pack_entry(
    row: ProjectedEntry, front: bytes, slot: bytes, day: int, legs: list[int], entries: list[bytes]
) -> None:
    times = (row.occurred_us - _PG_EPOCH_US, 8, row.recorded_us - _PG_EPOCH_US, 8, row.known_us - _PG_EPOCH_US)
    event_id = _uuid(row.event_id)
    entries.append(
        _ENTRY(
            front, 8, row.seq, 8, row.source_offset, 8, *times, 4, day - _PG_EPOCH_DAY, 32, row.entry_hash, 16, event_id
        )
    )
    # The digest is that of `ledger_core.reading.chunks.digest_of`.
    digest = hashlib.sha256
    event_type, settlement = row.event_type.encode(), row.settlement_id.encode()
    entries += (
        _KEY(8, slot, digest(row.event_id.encode()).digest()[:DIGEST_BYTES], len(event_type)),
        event_type,
        _KEY(8, slot, digest(settlement).digest()[:DIGEST_BYTES], len(settlement)),
        settlement,
    )
    order = row.order_id.encode()
    entries += (_KEY(8, slot, digest(order).digest()[:DIGEST_BYTES], len(order)), order)
    if row.provider is None or row.reference is None:
        entries.append(_NULL * 3)
    else:
        provider, reference = row.provider.encode(), row.reference.encode()
        key = _KEY(8, slot, digest(reference).digest()[:DIGEST_BYTES], len(reference))
        entries += (_SIZE(len(provider)), provider, key, reference)
    entries.append(_NULL if row.reverses is None else _SIZE(16) + _uuid(row.reverses))
    half = len(legs) // 2
    count = half // 2
    entries += (
        _INT4_ARRAY(20 + 8 * count, 1, 0, _INT4_OID, count, 1),
        struct.pack(f">{2 * count}i", *legs[:half]),
        _INT4_ARRAY(20 + 12 * count, 1, 0, _INT8_OID, count, 1),
        struct.pack(">" + "iq" * count, *legs[half:]),
    )


def _uuid(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))
