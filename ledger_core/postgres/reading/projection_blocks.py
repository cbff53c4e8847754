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
from ledger_core.postgres.reading.projection_series import Series
from ledger_core.reading.blocks import BLOCK_LINES, FAN_OUT, Blocks, completed
from ledger_core.reading.chunks import CHUNK_BITS

_FULL: Final = """
WITH full_blocks AS (
    SELECT * FROM unnest(%(nos)s::text::int4[], %(from_seqs)s::text::int8[], %(firsts)s::text::int8[],
                         %(ends)s::text::int8[]) AS f (series_no, from_seq, first_no, end_no))"""
LINES_SUMMED: Final = f"""{_FULL}, cells AS (
    SELECT f.series_no, (l.position - 1) / {BLOCK_LINES} AS block_no, l.effective_day AS day,
           sum(greatest(l.amount_minor, 0)) AS debits, sum(greatest(-l.amount_minor, 0)) AS credits
      FROM full_blocks f
     CROSS JOIN LATERAL (
           SELECT l.* FROM chunks c CROSS JOIN LATERAL (
                  SELECT position, effective_day, amount_minor FROM lines
                   WHERE known_month = c.known_month AND slot = c.slot AND series_no = f.series_no
                     AND seq >= f.from_seq AND position > f.first_no * {BLOCK_LINES}
                     AND position <= f.end_no * {BLOCK_LINES} OFFSET 0) AS l
            WHERE c.shard = %(shard)s AND c.chunk >= (f.from_seq - 1) >> {CHUNK_BITS} OFFSET 0) AS l
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


class Full(NamedTuple):
    """Blocks of level 0 of a series that a batch made full."""

    series_no: int  # of the shard
    from_seq: int  # entry with the last line of the block before them; 0 without one
    before: int  # lines in the full blocks before them
    after: int  # lines in the full blocks with them


def sum_up_lines(cursor: Cursor[Any], shard: int, full: Iterable[Full]) -> None:
    """Sum up the blocks of series that are full now, of every level."""
    levels: dict[int, list[tuple[Full, Blocks]]] = {}
    for it in full:
        for blocks in completed(it.before, it.after):
            levels.setdefault(blocks.level, []).append((it, blocks))
    for level, found in sorted(levels.items()):
        cursor.execute(
            BLOCKS_SUMMED if level else LINES_SUMMED,
            {
                "shard": shard,
                "level": level,
                "nos": array_literal(it.series_no for it, _ in found),
                "from_seqs": array_literal(it.from_seq for it, _ in found),
                "firsts": array_literal(blocks.first for _, blocks in found),
                "ends": array_literal(blocks.end for _, blocks in found),
            },
        )


def add_ends(cursor: Cursor[Any], shard: int, ends: Sequence[tuple[Series, int, int, int]]) -> None:
    """Write down where full blocks end, and sum them up: (series, sequence, line number, lines with it)."""
    if not ends:
        return
    full: dict[int, Full] = {}
    for it, seq, _, lines in ends:
        before = full.get(it.no) or Full(it.no, it.end_seq, lines - BLOCK_LINES, lines)
        full[it.no] = before._replace(after=lines)
        it.end_seq = seq
    with cursor.copy("COPY ends (shard, series_no, seq, line_no, block_no) FROM STDIN") as copy:
        copy.write(
            "".join(
                f"{shard}\t{it.no}\t{seq}\t{line_no}\t{lines // BLOCK_LINES - 1}\n" for it, seq, line_no, lines in ends
            )
        )
    sum_up_lines(cursor, shard, full.values())
