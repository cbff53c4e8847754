"""The series of one shard: which number an account has in a currency, and where its next line stands.

A number is the place in the order of first use in the shard's chain, as that of an account in the ledger (decision
005): the same in every projection. What is cached counts only once its transaction is committed, and as long as the
shard's row is where this process left it: whoever moves that row compares it first (`projection_store`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from psycopg import Cursor

from ledger_core.postgres.posting.account_numbers import array_literal
from ledger_core.reading.blocks import BLOCK_LINES
from ledger_core.reading.rows import ProjectedEntry

CACHED_MAX: Final = 200_000  # series of a process: about 80 MB

FIND: Final = f"""
SELECT s.account, s.currency, s.series_no, s.last_chunk, l.position, coalesce(e.seq, 0)
  FROM unnest(%(accounts)s::text::text[], %(currencies)s::text::text[]) AS w (account, currency)
  JOIN series s ON s.account = w.account COLLATE "C" AND s.currency = w.currency AND s.shard = %(shard)s
 CROSS JOIN LATERAL (
       SELECT l.position FROM chunks c CROSS JOIN LATERAL (
              SELECT position, seq, line_no FROM lines
               WHERE known_month = c.known_month AND slot = c.slot AND series_no = s.series_no
               ORDER BY seq DESC, line_no DESC LIMIT 1) AS l
        WHERE c.shard = s.shard AND c.chunk = s.last_chunk ORDER BY l.seq DESC, l.line_no DESC LIMIT 1) AS l
  LEFT JOIN LATERAL (
       SELECT seq FROM ends WHERE shard = s.shard AND series_no = s.series_no AND l.position >= {BLOCK_LINES}
        ORDER BY seq DESC, line_no DESC LIMIT 1) AS e ON true"""
MOVE: Final = """
UPDATE series s SET last_chunk = w.chunk FROM unnest(%s::text::int4[], %s::text::int4[]) AS w (series_no, chunk)
 WHERE s.shard = %s AND s.series_no = w.series_no"""


class Series(msgspec.Struct, gc=False):
    """The lines of one account and currency in a shard, as far as they were read."""

    no: int  # of the shard
    account: str  # path
    currency: str  # three capital letters, ISO 4217
    lines: int = 0  # how many there are
    last_chunk: int = -1  # that it has a line in; -1 before the first
    end_seq: int = 0  # entry with the last line of its newest full block; 0 without one
    kind: tuple[str, str] = ("", "")  # type and currency: whose total it adds to

    def __post_init__(self) -> None:
        self.kind = (self.account.partition(":")[0], self.currency)


Known = dict[tuple[str, str], Series]
"""Series by account and currency."""


class ShardSeries:
    """The series of one shard, as far as this process has met them."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.known: Known = {}

    def find(self, cursor: Cursor[Any], rows: Sequence[ProjectedEntry], there: int) -> list[Series]:
        """Let `known` have all of these entries; those that are new. `there`: how many series the shard has."""
        if len(self.known) > CACHED_MAX:
            self.forget()
        known = self.known
        unknown = list(
            dict.fromkeys(key for row in rows for leg in row.legs if (key := (leg.account, leg.currency)) not in known)
        )
        if unknown and len(known) < there:
            values = {
                "accounts": array_literal(key[0] for key in unknown),
                "currencies": array_literal(key[1] for key in unknown),
                "shard": self.shard,
            }
            for account, currency, no, chunk, lines, end_seq in cursor.execute(FIND, values):
                known[account, currency] = Series(no, account, currency, lines, chunk, end_seq)
            unknown = [key for key in unknown if key not in known]
        new = [Series(no, *key) for no, key in enumerate(unknown, there + 1)]
        known.update(zip(unknown, new, strict=True))
        return new

    def forget(self) -> None:
        """Let the series go, as after a rollback: they are asked for again."""
        self.known.clear()


def add_series(cursor: Cursor[Any], shard: int, new: Sequence[Series], first_chunks: Sequence[int]) -> None:
    """Write series that had no line before this batch, and which chunk their first one is in."""
    with cursor.copy("COPY series (shard, series_no, first_chunk, last_chunk, account, currency) FROM STDIN") as copy:
        # The forms of accounts and currencies leave nothing to escape.
        copy.write(
            "".join(
                f"{shard}\t{it.no}\t{first}\t{it.last_chunk}\t{it.account}\t{it.currency}\n"
                for it, first in zip(new, first_chunks, strict=True)
            )
        )


def move_series(cursor: Cursor[Any], shard: int, moved: Sequence[Series]) -> None:
    """Note that series have lines in a later chunk now."""
    if moved:
        nos, chunks = array_literal(it.no for it in moved), array_literal(it.last_chunk for it in moved)
        cursor.execute(MOVE, (nos, chunks, shard))
