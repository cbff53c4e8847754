"""The totals of one shard by type of account: blocks of entries, summed up while they are read.

As the blocks of `ledger_core.reading.blocks`, but of all lines of 256 entries, by type of account and currency. The
sums of a block that is not full yet are in memory; who begins in the middle of one reads its first entries again.
Guarantees: each block is written in the transaction of its last entry, and never again; what it comes to is `day_sums`
of its lines. Does not: update anything.
"""

from __future__ import annotations

from typing import Any, Final

from psycopg import Cursor

from ledger_core.reading.blocks import BLOCK_LINES, FAN_OUT, completed

OPEN: Final = """
SELECT split_part(s.account, ':', 1), s.currency, e.effective_day - date '1970-01-01',
       sum(greatest(l.amount, 0))::int8, sum(greatest(-l.amount, 0))::int8
  FROM entries e CROSS JOIN LATERAL unnest(e.series_nos, e.amounts_minor) AS l (series_no, amount)
  JOIN series s ON s.shard = e.shard AND s.series_no = l.series_no
 WHERE e.shard = %s AND e.seq > %s AND e.seq <= %s GROUP BY 1, 2, 3"""
SUMMED: Final = f"""
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
COPY: Final = "COPY totals (shard, level, block_no, type, currency, day, debits, credits) FROM STDIN"
COPY_MOMENTS: Final = "COPY moments (shard, known_us, seq) FROM STDIN"


class OpenTotals:
    """The newest block of entries of a shard, which is not full yet, and those that a batch made full."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.cells: dict[tuple[tuple[str, str], int], list[int]] = {}  # ((type, currency), day) -> debits, credits
        self._seq: int | None = None  # up to which `cells` have the open block; None: not read yet
        self._totals: list[str] = []
        self._moments: list[str] = []

    def begin(self, cursor: Cursor[Any], seq: int) -> None:
        """Have the open block up to an entry, before a batch is added."""
        if self._seq == seq:
            return
        self.forget()
        values = (self.shard, seq // BLOCK_LINES * BLOCK_LINES, seq)
        for kind, currency, day, debits, credits_ in cursor.execute(OPEN, values) if seq % BLOCK_LINES else ():
            self.cells[(kind, currency), day] = [debits, credits_]

    def close_block(self, seq: int, known_us: int) -> None:
        """The block is full with this entry, which is known since then."""
        block_no = seq // BLOCK_LINES - 1
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for (kind, day), (debits, credits_) in sorted(self.cells.items()):
            before = sums.get(kind, (0, 0))
            now = sums[kind] = (before[0] + debits, before[1] + credits_)
            self._totals.append(
                f"{self.shard}\t0\t{block_no}\t{kind[0]}\t{kind[1]}\tJ{day + _JULIAN}\t{now[0]}\t{now[1]}\n"
            )
        self._moments.append(f"{self.shard}\t{known_us}\t{seq}\n")
        self.cells.clear()

    def write(self, cursor: Cursor[Any], before: int, after: int) -> None:
        """Write the blocks that are full at sequence `after` and were not at `before`, of every level."""
        if self._totals:
            for statement, rows in ((COPY, self._totals), (COPY_MOMENTS, self._moments)):
                with cursor.copy(statement) as copy:
                    copy.write("".join(rows))
                rows.clear()
        for level, first, end in completed(before, after):
            if level:
                cursor.execute(SUMMED, {"shard": self.shard, "level": level, "first": first, "end": end})
        self._seq = after

    def forget(self) -> None:
        """Let the sums go, as after a rollback: they are read again."""
        self._seq = None
        for it in (self.cells, self._totals, self._moments):
            it.clear()


_JULIAN: Final = 2_440_588  # the Julian day of 1970-01-01, which is how a date may be written for Postgres
