"""Rows of the hot tables as PostgreSQL's binary COPY format, packed by `struct`. Pure.

Why our own packing: a row of fixed-width columns is one `struct.pack` call (0.4 us), where the driver's row adapter
costs five times that; posting writes four rows for a three-line settlement (docs/PERFORMANCE.md).
Source: PostgreSQL documentation, COPY, "Binary Format". Integers are big-endian; a field is its length and its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from ledger_core.books.event_rules import LINES_MAX
from ledger_core.books.money import CURRENCIES
from ledger_core.posting.plans import Posted

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER: Final = struct.pack(">h", -1)
PG_EPOCH_MS: Final = 946_684_800_000  # 2000-01-01T00:00Z, from which timestamptz counts microseconds

# shard int4, seq int8, event_id uuid, source_offset int8, recorded_at timestamptz, entry_hash bytea(32), body bytea
_ENTRY = struct.Struct(">14s q i16s iq iq i32s i")
# shard int4, seq int8, line_no int2, account_no int4, side int2, amount_minor int8, currency char(3): what is the same
# for every line of a batch, or has few values, is packed before; 7 items are packed in half the time of 15.
_LINE = struct.Struct(">14s q 10s i 10s q 7s")
_LINE_NO: Final = tuple(struct.pack(">ihi", 2, line_no, 4) for line_no in range(1, LINES_MAX + 1))
_DEBIT: Final = struct.pack(">ihi", 2, 1, 8)
_CREDIT: Final = struct.pack(">ihi", 2, -1, 8)
_CURRENCY: Final = {code: struct.pack(">i3s", 3, code.encode()) for code in CURRENCIES}


Balances: TypeAlias = dict[tuple[int, str], list[int]]
"""(account_no, currency) -> [debits, credits] in minor units."""


def packed_rows(shard: int, posted: Iterable[Posted], account_nos: Mapping[str, int]) -> tuple[bytes, bytes, Balances]:
    """What a batch adds to a shard, in one pass (touching each entry again costs more than packing it):

    rows for `entries (shard, seq, event_id, source_offset, recorded_at, entry_hash, body)`,
    rows for `lines (shard, seq, line_no, account_no, side, amount_minor, currency)`,
    and what the lines add to the balances.
    """
    pack_entry, pack_line = _ENTRY.pack, _LINE.pack
    front = struct.pack(">hiii", 7, 4, shard, 8)
    entries, lines = [HEADER], [HEADER]
    balances: Balances = {}
    for entry in posted:
        record, body, draft, seq = entry.record, entry.body, entry.draft, entry.seq
        event_id = bytes.fromhex(draft.event_id.replace("-", ""))
        recorded_us = (record.timestamp_ms - PG_EPOCH_MS) * 1000
        size = len(body)
        entries.append(
            pack_entry(front, seq, 16, event_id, 8, record.offset, 8, recorded_us, 32, entry.entry_hash, size)
        )
        entries.append(body)
        line_no = 0
        for account, side, amount, currency, _ in draft.lines:
            no = account_nos[account]
            is_debit = side == "debit"
            lines.append(
                pack_line(
                    front, seq, _LINE_NO[line_no], no, _DEBIT if is_debit else _CREDIT, amount, _CURRENCY[currency]
                )
            )
            line_no += 1  # noqa: SIM113  # enumerate costs a tuple a line
            balance = balances.get((no, currency))
            if balance is None:
                balance = balances[no, currency] = [0, 0]
            balance[0 if is_debit else 1] += amount
    for parts in (entries, lines):
        parts.append(TRAILER)
    return b"".join(entries), b"".join(lines), balances


def unknown_accounts(posted: Iterable[Posted], account_nos: Mapping[str, int]) -> list[str]:
    """The accounts of the batch that have no number yet, each once, in the order of first use."""
    unknown: dict[str, None] = {}
    for entry in posted:
        for line in entry.draft.lines:
            account = line[0]
            if account not in account_nos:
                unknown[account] = None
    return list(unknown)
