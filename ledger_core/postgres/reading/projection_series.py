"""The series of one shard: which number an account has in a currency, and where its next line stands.

A number is the place in the order of first use in the shard's chain, as that of an account in the ledger (decision
005): the same in every projection. Numbers are cached, and count only once their transaction is committed; how many
lines there are is asked of the database, where the caller's lock on the shard's row keeps everybody else away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from psycopg import Cursor

from ledger_core.postgres.posting.account_numbers import array_literal
from ledger_core.postgres.reading.projection_blocks import Grown
from ledger_core.postgres.reading.projection_copy import Placed
from ledger_core.reading.rows import ProjectedEntry

CACHED_MAX: Final = 300_000  # accounts of a process: about 80 MB

FIND: Final = """
SELECT s.account, s.currency, s.series_no FROM unnest(%s::text::text[], %s::text::text[]) AS w (account, currency)
  JOIN series s ON s.account = w.account COLLATE "C" AND s.currency = w.currency AND s.shard = %s"""
GROW: Final = """
UPDATE series s SET lines = s.lines + w.lines, debits = s.debits + w.debits, credits = s.credits + w.credits
  FROM unnest(%s::text::int4[], %s::text::int4[], %s::text::numeric[], %s::text::numeric[])
       AS w (series_no, lines, debits, credits)
 WHERE s.shard = %s AND s.series_no = w.series_no RETURNING s.series_no, s.lines - w.lines, s.lines, s.full_seq"""


class ShardSeries:
    """The series of one shard, as far as this process has met them."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self._numbers: dict[tuple[str, str], int] = {}

    def place(
        self, cursor: Cursor[Any], rows: Sequence[ProjectedEntry], there: int
    ) -> tuple[list[list[Placed]], list[Grown], int]:
        """Give each line of new entries its place, and add them to the sums of their series. `there`: how many series
        the shard has; comes back with those that are new.
        """
        numbers = self._numbered(cursor, rows, there)
        sums: dict[int, list[int]] = {}
        for row in rows:
            for leg in row.legs:
                total = sums.setdefault(numbers[leg.account, leg.currency], [0, 0, 0])
                total[0] += 1
                total[1 if leg.amount_minor > 0 else 2] += abs(leg.amount_minor)
        grown = self._grow(cursor, sums)
        at = {it.series_no: it.before for it in grown}
        placed: list[list[Placed]] = []
        for row in rows:
            legs: list[Placed] = []
            for leg in row.legs:
                no = numbers[leg.account, leg.currency]
                at[no] += 1
                legs.append((no, at[no], leg.amount_minor))
            placed.append(legs)
        return placed, grown, max(there, max(sums, default=0))

    def forget(self) -> None:
        """Let the numbers go, as after a rollback: they are asked for again."""
        self._numbers.clear()

    def _numbered(self, cursor: Cursor[Any], rows: Sequence[ProjectedEntry], there: int) -> dict[tuple[str, str], int]:
        if len(self._numbers) > CACHED_MAX:
            self.forget()
        numbers = self._numbers
        wanted = dict.fromkeys((leg.account, leg.currency) for row in rows for leg in row.legs)
        unknown = [key for key in wanted if key not in numbers]
        if unknown and len(numbers) < there:
            accounts, currencies = array_literal(key[0] for key in unknown), array_literal(key[1] for key in unknown)
            for account, currency, no in cursor.execute(FIND, (accounts, currencies, self.shard)):
                numbers[account, currency] = no
        new = [key for key in unknown if key not in numbers]
        for no, key in enumerate(new, there + 1):
            numbers[key] = no
        if new:
            with cursor.copy("COPY series (shard, series_no, account, currency) FROM STDIN") as copy:
                # The forms of accounts and currencies leave nothing to escape.
                copy.write("".join(f"{self.shard}\t{numbers[key]}\t{key[0]}\t{key[1]}\n" for key in new))
        return numbers

    def _grow(self, cursor: Cursor[Any], sums: dict[int, list[int]]) -> list[Grown]:
        touched = sorted(sums)
        columns = (array_literal(touched), *(array_literal(sums[no][part] for no in touched) for part in range(3)))
        return [Grown(*row) for row in cursor.execute(GROW, (*columns, self.shard))] if touched else []
