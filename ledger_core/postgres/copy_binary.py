"""Rows of the hot tables as PostgreSQL's binary COPY format, packed by `struct`. Pure.

Why our own packing: a row of fixed-width columns is one `struct.pack` call (0.4 us), where the driver's row adapter
costs five times that; posting writes four rows for a three-line settlement (docs/PERFORMANCE.md).
Source: PostgreSQL documentation, COPY, "Binary Format". Integers are big-endian; a field is its length and its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from ledger_core.posting import Posted

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER: Final = struct.pack(">h", -1)
PG_EPOCH_MS: Final = 946_684_800_000  # 2000-01-01T00:00Z, from which timestamptz counts microseconds

# shard int4, seq int8, event_id uuid, source_offset int8, recorded_at timestamptz, entry_hash bytea(32), body bytea
_ENTRY = struct.Struct(">h ii iq i16s iq iq i32s i")
# shard int4, seq int8, line_no int2, account_no int4, side int2, amount_minor int8, currency char(3)
_LINE = struct.Struct(">h ii iq ih ii ih iq i3s")
# shard int4, seq int8, pii bytea, salt bytea
_PII = struct.Struct(">h ii iq i")
_LENGTH = struct.Struct(">i")


def entry_rows(shard: int, posted: Iterable[Posted]) -> bytes:
    """Rows for `entries (shard, seq, event_id, source_offset, recorded_at, entry_hash, body)`."""
    pack = _ENTRY.pack
    parts = [HEADER]
    for entry in posted:
        record, body = entry.record, entry.body
        event_id = bytes.fromhex(entry.draft.event_id.replace("-", ""))
        recorded_us = (record.timestamp_ms - PG_EPOCH_MS) * 1000
        parts.append(
            pack(
                7,
                4,
                shard,
                8,
                entry.seq,
                16,
                event_id,
                8,
                record.offset,
                8,
                recorded_us,
                32,
                entry.entry_hash,
                len(body),
            )
        )
        parts.append(body)
    parts.append(TRAILER)
    return b"".join(parts)


Balances: TypeAlias = dict[tuple[int, str], list[int]]
"""(account_no, currency) -> [debits, credits] in minor units."""


def line_rows(shard: int, posted: Iterable[Posted], account_nos: Mapping[str, int]) -> tuple[bytes, Balances]:
    """Rows for `lines (shard, seq, line_no, account_no, side, amount_minor, currency)`, and what they add to balances.

    Both in one pass: going through the lines is most of the work.
    """
    pack = _LINE.pack
    parts = [HEADER]
    append = parts.append
    balances: Balances = {}
    for entry in posted:
        seq = entry.seq
        line_no = 0
        for account, currency, side, amount in entry.draft.legs:
            line_no += 1  # noqa: SIM113  # enumerate costs a tuple a line
            no = account_nos[account]
            append(pack(7, 4, shard, 8, seq, 2, line_no, 4, no, 2, side, 8, amount, 3, currency.encode()))
            balance = balances.get((no, currency))
            if balance is None:
                balance = balances[no, currency] = [0, 0]
            balance[side < 0] += amount
    append(TRAILER)
    return b"".join(parts), balances


def pii_rows(shard: int, posted: Iterable[Posted]) -> bytes | None:
    """Rows for `pii (shard, seq, pii, salt)`; None when no entry of the batch has any."""
    parts = [HEADER]
    for entry in posted:
        pii, salt = entry.draft.pii, entry.draft.pii_salt
        if pii is not None and salt is not None:
            parts += (_PII.pack(4, 4, shard, 8, entry.seq, len(pii)), pii, _LENGTH.pack(len(salt)), salt)
    if len(parts) == 1:
        return None
    parts.append(TRAILER)
    return b"".join(parts)
