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
from ledger_core.postgres.reading.projection_blocks import add_ends
from ledger_core.postgres.reading.projection_copy import ENTRY_COLUMNS, LINE_COLUMNS, packed
from ledger_core.postgres.reading.projection_places import Projection, enter, hold, standing
from ledger_core.postgres.reading.projection_series import ShardSeries, add_series, move_series
from ledger_core.postgres.reading.projection_totals import OpenTotals
from ledger_core.posting.store_port import Fenced
from ledger_core.reading.chunks import slot_of
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
PLACE: Final = "INSERT INTO chunks (shard, chunk, known_month, slot) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
OTHERS: Final = """
SELECT w.seq FROM unnest(%s::text::int8[], %s::text::bytea[]) AS w (seq, entry_hash)
  LEFT JOIN entries e ON e.shard = %s AND e.seq = w.seq
 WHERE e.entry_hash IS DISTINCT FROM w.entry_hash ORDER BY w.seq LIMIT 1"""
KEPT: Final = "SELECT seq, why, known_us FROM reading.kept_times WHERE shard = %s AND seq > %s ORDER BY seq LIMIT %s"
KEEP: Final = "INSERT INTO reading.kept_times (shard, seq, why, known_us) VALUES (%s, %s, %s, %s)"
FORGET: Final = """
DELETE FROM reading.kept_times WHERE (shard, seq, why, known_us) = (%s, %s, %s, %s)
   AND EXISTS (SELECT FROM reading.projections WHERE (place, number) = (%s, %s) AND asked)"""
CLOSE: Final = f"{KEEP} ON CONFLICT (shard, seq, why) DO UPDATE SET known_us = greatest(kept_times.known_us, %s)"


class ProjectionStore:
    """On a connection in autocommit mode. Every method may raise Unavailable("postgres") and Refused; those that write
    raise TakenOver once another projection was switched to."""

    def __init__(self, connection: psycopg.Connection[Any], projection: Projection) -> None:
        self._connection = connection
        self._projection = projection
        self._shards: dict[int, tuple[ShardSeries, OpenTotals]] = {}
        self._months: set[int] = set()  # whose partitions stand
        enter(connection, projection.place)

    @standing()
    def reach(self, shard: int) -> ShardReach:
        """How far the projection has come in a shard."""
        row = self._connection.execute(CURSOR, (shard,), binary=True).fetchone()
        return ShardReach(shard) if row is None else ShardReach(*row)

    @standing()
    def kept(self, shard: int, after_seq: int, limit: int) -> dict[int, list[KeptTime]]:
        """The exceptions of a shard's times behind a sequence, by sequence: `limit` of them at most."""
        found: dict[int, list[KeptTime]] = {}
        for seq, why, known_us in self._connection.execute(KEPT, (shard, after_seq, limit)):
            found.setdefault(seq, []).append(KeptTime(seq, Why(why), known_us))
        return found

    @standing()
    def write(self, before: ShardReach, folded: Folded) -> None:
        """Add a batch and move the cursor from `before`. Raises Fenced where another projector moved it, or keeps
        another time of one of these entries; Refused where a repeat is not what was written."""
        shard, after, rows = before.shard, folded.reach, folded.rows
        self._make_months({row.known_month for row in rows} - self._months)
        self._shards.setdefault(shard, (ShardSeries(shard), OpenTotals(shard)))
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                hold(cursor, self._projection)
                there = self._move(cursor, before, after)
                self._compare(cursor, shard, folded.repeats)
                for it in folded.kept:
                    cursor.execute(KEEP, (shard, it.seq, it.why.value, it.known_us))
                for it in folded.needless:  # by the one that is asked: its place may rest on a closing that it gave
                    cursor.execute(FORGET, (shard, it.seq, it.why.value, it.known_us, *self._projection[:2]))
                if rows:
                    self._add(cursor, rows, there, before.seq)
        except errors.UniqueViolation as error:
            self._forget(shard)
            if error.diag.table_name == "kept_times":
                raise Fenced(f"shard {shard}: another projector noted a time meanwhile") from error
            raise
        except BaseException:
            self._forget(shard)
            raise

    @standing()
    def close_shard(self, before: ShardReach, closed: KeptTime) -> ShardReach:
        """Let a shard in which nothing came answer up to a time. Raises Fenced."""
        after = before._replace(known_us=closed.known_us)
        with self._connection.transaction(), self._connection.cursor() as cursor:
            hold(cursor, self._projection)
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

    def _add(self, cursor: Cursor[Any], rows: Sequence[ProjectedEntry], there: int, before_seq: int) -> None:
        shard = rows[0].shard
        series, totals = self._shards[shard]
        totals.begin(cursor, before_seq)
        new = series.find(cursor, rows, there)
        batch = packed(rows, series.known, totals)
        if new:
            cursor.execute("UPDATE shards SET series = %s WHERE shard = %s", (there + len(new), shard))
            add_series(cursor, shard, new, [batch.first_chunks[it.no] for it in new])
        moved = [it for no, it in batch.moved.items() if no not in batch.first_chunks]
        move_series(cursor, shard, moved)
        for chunk, month in batch.places:
            cursor.execute(PLACE, (shard, chunk, month, slot_of(shard, chunk)))
        _copy(cursor, f"entries ({ENTRY_COLUMNS})", batch.entries)
        _copy(cursor, f"lines ({LINE_COLUMNS})", batch.lines)
        add_ends(cursor, shard, batch.ends)
        totals.write(cursor, before_seq, rows[-1].seq)

    def _forget(self, shard: int) -> None:
        """What was given out in a transaction that did not happen is free again."""
        for it in self._shards[shard]:
            it.forget()

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
            with self._connection.transaction(), self._connection.cursor() as cursor:
                hold(cursor, self._projection)
                cursor.execute(
                    sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)").format(part, parent)
                )
                cursor.execute(
                    sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES IN ({})").format(
                        parent, part, sql.Literal(month)
                    )
                )
        except (errors.DuplicateTable, errors.UniqueViolation):
            return  # another projector made it, or this one before it was started again


def _copy(cursor: Cursor[Any], into: str, data: bytes) -> None:
    with cursor.copy(f"COPY {into} FROM STDIN (FORMAT binary)") as copy:
        copy.write(data)
