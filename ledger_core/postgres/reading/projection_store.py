"""What the projector reads and writes of one projection.

Guarantees: the rows of a batch, the sums of blocks that it made full and the shard's cursor are one transaction; a
cursor that another projector moved raises Fenced, and nothing of the batch stays. A record that comes again is compared
with its row: another ledger's journal is Refused. Rows are added, never changed.
Does not: check what it is given (`ledger_core.reading.fold` did), or touch a table of the ledger. Needs to own the
schemas of projections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg
from psycopg import Cursor, errors, sql

from ledger_core.errors import Refused
from ledger_core.postgres.posting.account_numbers import array_literal
from ledger_core.postgres.reading.projection_blocks import note_full, sum_up_entries, sum_up_lines
from ledger_core.postgres.reading.projection_copy import (
    ENTRY_COLUMNS,
    LINE_COLUMNS,
    Placed,
    packed_entries,
    packed_lines,
)
from ledger_core.postgres.reading.projection_places import enter
from ledger_core.postgres.reading.projection_series import ShardSeries
from ledger_core.postgres.session import translated
from ledger_core.posting.store_port import Fenced
from ledger_core.reading.blocks import BLOCK_LINES
from ledger_core.reading.fold import REMEDY, Folded, ShardReach
from ledger_core.reading.known import KeptTime, Why
from ledger_core.reading.rows import ProjectedEntry

PARTITIONED: Final = ("entries", "lines")
CURSOR: Final = "SELECT shard, seq, head, known_us, next_offset FROM shards WHERE shard = %s"
FIRST: Final = "INSERT INTO shards (shard) VALUES (%s) ON CONFLICT DO NOTHING"
MOVE: Final = """
UPDATE shards SET seq = %s, head = %s, known_us = %s, next_offset = %s
 WHERE shard = %s AND seq = %s AND head IS NOT DISTINCT FROM %s AND known_us = %s AND next_offset = %s
RETURNING series"""
OTHERS: Final = """
SELECT w.seq FROM unnest(%s::text::int8[], %s::text::bytea[]) AS w (seq, entry_hash)
  LEFT JOIN entries e ON e.shard = %s AND e.seq = w.seq
 WHERE e.entry_hash IS DISTINCT FROM w.entry_hash ORDER BY w.seq LIMIT 1"""
KEPT: Final = "SELECT seq, why, known_us FROM reading.kept_times WHERE shard = %s AND seq > %s ORDER BY seq LIMIT %s"
KEEP: Final = "INSERT INTO reading.kept_times (shard, seq, why, known_us) VALUES (%s, %s, %s, %s)"
CLOSE: Final = f"{KEEP} ON CONFLICT (shard, seq, why) DO UPDATE SET known_us = greatest(kept_times.known_us, %s)"


class ProjectionStore:
    """On a connection in autocommit mode. Every method may raise Unavailable("postgres") and Refused."""

    def __init__(self, connection: psycopg.Connection[Any], place: str) -> None:
        self._connection = connection
        self._place = place
        self._series: dict[int, ShardSeries] = {}
        self._months: set[int] = set()  # whose partitions stand
        enter(connection, place)

    @translated()
    def reach(self, shard: int) -> ShardReach:
        """How far the projection has come in a shard."""
        row = self._connection.execute(CURSOR, (shard,), binary=True).fetchone()
        return ShardReach(shard) if row is None else ShardReach(*row)

    @translated()
    def kept(self, shard: int, after_seq: int, limit: int) -> dict[int, list[KeptTime]]:
        """The exceptions of a shard's times behind a sequence, by sequence: `limit` of them at most."""
        found: dict[int, list[KeptTime]] = {}
        for seq, why, known_us in self._connection.execute(KEPT, (shard, after_seq, limit)):
            found.setdefault(seq, []).append(KeptTime(seq, Why(why), known_us))
        return found

    @translated()
    def write(self, before: ShardReach, folded: Folded) -> None:
        """Add a batch and move the cursor from `before`. Raises Fenced where another projector moved it, or keeps
        another time of one of these entries; Refused where a repeat is not what was written."""
        shard, after, rows = before.shard, folded.reach, folded.rows
        self._make_months({row.known_month for row in rows} - self._months)
        series = self._series.setdefault(shard, ShardSeries(shard))
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                there = self._move(cursor, before, after)
                self._compare(cursor, shard, folded.repeats)
                for it in folded.kept:
                    cursor.execute(KEEP, (shard, it.seq, it.why.value, it.known_us))
                if rows:
                    self._add(cursor, series, rows, there, before.seq)
        except errors.UniqueViolation as error:
            series.forget()
            if error.diag.table_name == "kept_times":
                raise Fenced(f"shard {shard}: another projector noted a time meanwhile") from error
            raise
        except BaseException:
            series.forget()  # numbers given in it are free again
            raise

    @translated()
    def close_shard(self, before: ShardReach, closed: KeptTime) -> ShardReach:
        """Let a shard in which nothing came answer up to a time. Raises Fenced."""
        after = before._replace(known_us=closed.known_us)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            self._move(cursor, before, after)
            values = (before.shard, closed.seq, closed.why.value, closed.known_us)
            cursor.execute(CLOSE, (*values, closed.known_us))
        return after

    def close(self) -> None:
        self._connection.close()

    @staticmethod
    def _move(cursor: Cursor[Any], before: ShardReach, after: ShardReach) -> int:
        """Move the cursor, which locks the shard's row; how many series it has."""
        cursor.execute(FIRST, (before.shard,))
        row = cursor.execute(MOVE, (*after[1:], before.shard, *before[1:])).fetchone()
        if row is None:
            raise Fenced(f"another projector reads shard {before.shard}")
        return int(row[0])

    @staticmethod
    def _compare(cursor: Cursor[Any], shard: int, repeats: Sequence[tuple[int, bytes]]) -> None:
        if not repeats:
            return
        hashes = "{" + ",".join(f'"\\\\x{entry_hash.hex()}"' for _, entry_hash in repeats) + "}"
        row = cursor.execute(OTHERS, (array_literal(seq for seq, _ in repeats), hashes, shard)).fetchone()
        if row is not None:
            raise Refused(
                f"journal of shard {shard}: entry {row[0]} comes again, and is not what was read before", remedy=REMEDY
            )

    @staticmethod
    def _add(
        cursor: Cursor[Any], series: ShardSeries, rows: Sequence[ProjectedEntry], there: int, before_seq: int
    ) -> None:
        shard = series.shard
        placed, grown, now = series.place(cursor, rows, there)
        if now != there:
            cursor.execute("UPDATE shards SET series = %s WHERE shard = %s", (now, shard))
        _copy(cursor, f"entries ({ENTRY_COLUMNS})", packed_entries(rows, placed))
        _copy(cursor, f"lines ({LINE_COLUMNS})", packed_lines(rows, placed))
        full = sum_up_lines(cursor, shard, grown)
        note_full(cursor, shard, _ends(rows, placed, full) if full else ())
        sum_up_entries(cursor, shard, before_seq, rows[-1].seq)

    def _make_months(self, months: set[int]) -> None:
        """Make the partitions of these months, unless they stand."""
        for month in sorted(months):
            for table in PARTITIONED:
                self._make_partition(table, month)
            self._months.add(month)

    def _make_partition(self, table: str, month: int) -> None:
        """Beside its parent, then attached: questions go on meanwhile."""
        parent, part = sql.Identifier(table), sql.Identifier(f"{table}_{month // 12}_{month % 12 + 1:02}")
        try:
            with self._connection.transaction():
                self._connection.execute(
                    sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)").format(part, parent)
                )
                self._connection.execute(
                    sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES IN ({})").format(
                        parent, part, sql.Literal(month)
                    )
                )
        except (errors.DuplicateTable, errors.UniqueViolation):
            return  # another projector made it, or this one before it was started again


def _ends(rows: Sequence[ProjectedEntry], placed: Sequence[Sequence[Placed]], full: set[int]) -> list[tuple[int, int]]:
    """Of each of these series, the sequence with the last line of its newest full block, which the batch contains."""
    ends: dict[int, int] = {}
    for row, legs in zip(rows, placed, strict=True):
        for no, position, _ in legs:
            if no in full and position % BLOCK_LINES == 0:
                ends[no] = row.seq
    return sorted(ends.items())


def _copy(cursor: Cursor[Any], into: str, data: bytes) -> None:
    with cursor.copy(f"COPY {into} FROM STDIN (FORMAT binary)") as copy:
        copy.write(data)
