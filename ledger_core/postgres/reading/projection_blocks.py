"""Summing up the blocks that a batch made full (`ledger_core.reading.blocks`), by the database, in the caller's
transaction.

Guarantees: each block is summed up in the transaction of its last line, from rows that stand, and never again; what it
comes to is `day_sums` of its lines. Does not: update anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from psycopg import Cursor

from ledger_core.postgres.posting.account_numbers import array_literal
from ledger_core.reading.blocks import BLOCK_LINES, FAN_OUT, Blocks, completed

_FULL: Final = """
WITH full_blocks AS (
    SELECT * FROM unnest(%(nos)s::text::int4[], %(from_seqs)s::text::int8[], %(firsts)s::text::int8[],
                         %(ends)s::text::int8[]) AS f (series_no, from_seq, first_no, end_no))"""
LINES_SUMMED: Final = f"""{_FULL}, cells AS (
    SELECT l.series_no, (l.position - 1) / {BLOCK_LINES} AS block_no, l.effective_day AS day,
           sum(greatest(l.amount_minor, 0)) AS debits, sum(greatest(-l.amount_minor, 0)) AS credits
      FROM full_blocks f
      JOIN lines l ON l.shard = %(shard)s AND l.series_no = f.series_no AND l.seq >= f.from_seq
                  AND l.position > f.first_no * {BLOCK_LINES} AND l.position <= f.end_no * {BLOCK_LINES}
     GROUP BY 1, 2, 3)
INSERT INTO blocks (shard, series_no, level, block_no, day, debits, credits)
SELECT %(shard)s, series_no, 0, block_no, day, sum(debits) OVER upto, sum(credits) OVER upto
  FROM cells WINDOW upto AS (PARTITION BY series_no, block_no ORDER BY day)"""
BLOCKS_SUMMED: Final = f"""{_FULL}, steps AS (
    SELECT b.series_no, b.block_no / {FAN_OUT} AS block_no, b.day,
           b.debits - coalesce(lag(b.debits) OVER upto, 0) AS debits,
           b.credits - coalesce(lag(b.credits) OVER upto, 0) AS credits
      FROM full_blocks f
      JOIN blocks b ON b.shard = %(shard)s AND b.series_no = f.series_no AND b.level = %(level)s - 1
                   AND b.block_no >= f.first_no * {FAN_OUT} AND b.block_no < f.end_no * {FAN_OUT}
    WINDOW upto AS (PARTITION BY b.series_no, b.block_no ORDER BY b.day)), cells AS (
    SELECT series_no, block_no, day, sum(debits) AS debits, sum(credits) AS credits FROM steps GROUP BY 1, 2, 3)
INSERT INTO blocks (shard, series_no, level, block_no, day, debits, credits)
SELECT %(shard)s, series_no, %(level)s, block_no, day, sum(debits) OVER upto, sum(credits) OVER upto
  FROM cells WINDOW upto AS (PARTITION BY series_no, block_no ORDER BY day)"""
ENTRIES_SUMMED: Final = f"""
WITH cells AS (
    SELECT (e.seq - 1) / {BLOCK_LINES} AS block_no, split_part(s.account, ':', 1) AS type, s.currency,
           e.effective_day AS day, sum(greatest(l.amount, 0)) AS debits, sum(greatest(-l.amount, 0)) AS credits
      FROM entries e CROSS JOIN LATERAL unnest(e.series_nos, e.amounts_minor) AS l (series_no, amount)
      JOIN series s ON s.shard = e.shard AND s.series_no = l.series_no
     WHERE e.shard = %(shard)s AND e.seq > %(first)s * {BLOCK_LINES} AND e.seq <= %(end)s * {BLOCK_LINES}
     GROUP BY 1, 2, 3, 4)
INSERT INTO totals (shard, level, block_no, type, currency, day, debits, credits)
SELECT %(shard)s, 0, block_no, type, currency, day, sum(debits) OVER upto, sum(credits) OVER upto
  FROM cells WINDOW upto AS (PARTITION BY block_no, type, currency ORDER BY day)"""
TOTALS_SUMMED: Final = f"""
WITH steps AS (
    SELECT block_no / {FAN_OUT} AS block_no, type, currency, day, debits - coalesce(lag(debits) OVER upto, 0) AS debits,
           credits - coalesce(lag(credits) OVER upto, 0) AS credits
      FROM totals WHERE shard = %(shard)s AND level = %(level)s - 1
       AND block_no >= %(first)s * {FAN_OUT} AND block_no < %(end)s * {FAN_OUT}
    WINDOW upto AS (PARTITION BY block_no, type, currency ORDER BY day)), cells AS (
    SELECT block_no, type, currency, day, sum(debits) AS debits, sum(credits) AS credits
      FROM steps GROUP BY 1, 2, 3, 4)
INSERT INTO totals (shard, level, block_no, type, currency, day, debits, credits)
SELECT %(shard)s, %(level)s, block_no, type, currency, day, sum(debits) OVER upto, sum(credits) OVER upto
  FROM cells WINDOW upto AS (PARTITION BY block_no, type, currency ORDER BY day)"""
MOMENTS: Final = f"""
INSERT INTO moments (shard, known_us, seq)
SELECT shard, (extract(epoch FROM known_at) * 1000000)::int8, seq FROM entries
 WHERE shard = %(shard)s AND seq > %(first)s * {BLOCK_LINES} AND seq <= %(end)s * {BLOCK_LINES}
   AND seq %% {BLOCK_LINES} = 0"""
FULL_SEQ: Final = """
UPDATE series s SET full_seq = f.seq FROM unnest(%s::text::int4[], %s::text::int8[]) AS f (series_no, seq)
 WHERE s.shard = %s AND s.series_no = f.series_no"""


class Grown(NamedTuple):
    """What a batch added to a series."""

    series_no: int  # of the shard
    before: int  # lines in front of the batch
    after: int  # lines with the batch
    full_seq: int  # entry with the last line of the block that was full before; 0 without one


def sum_up_lines(cursor: Cursor[Any], shard: int, grown: Iterable[Grown]) -> set[int]:
    """Sum up the blocks of series that are full now; the series whose newest full block is another one."""
    levels: dict[int, list[tuple[Grown, Blocks]]] = {}
    for it in grown:
        for blocks in completed(it.before, it.after):
            levels.setdefault(blocks.level, []).append((it, blocks))
    for level, found in sorted(levels.items()):
        cursor.execute(
            BLOCKS_SUMMED if level else LINES_SUMMED,
            {
                "shard": shard,
                "level": level,
                "nos": array_literal(it.series_no for it, _ in found),
                "from_seqs": array_literal(it.full_seq for it, _ in found),
                "firsts": array_literal(blocks.first for _, blocks in found),
                "ends": array_literal(blocks.end for _, blocks in found),
            },
        )
    return {it.series_no for it, _ in levels.get(0, ())}


def note_full(cursor: Cursor[Any], shard: int, full: Sequence[tuple[int, int]]) -> None:
    """Note where the newest full block of a series ends: (series_no, sequence)."""
    if full:
        nos, seqs = array_literal(no for no, _ in full), array_literal(seq for _, seq in full)
        cursor.execute(FULL_SEQ, (nos, seqs, shard))


def sum_up_entries(cursor: Cursor[Any], shard: int, before: int, after: int) -> None:
    """Sum up the blocks of entries that are full at sequence `after` and were not at `before`."""
    for level, first, end in completed(before, after):
        values = {"shard": shard, "level": level, "first": first, "end": end}
        cursor.execute(TOTALS_SUMMED if level else ENTRIES_SUMMED, values)
        if level == 0:
            cursor.execute(MOMENTS, values)
