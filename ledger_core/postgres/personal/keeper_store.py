"""What the keeper reads and writes: rows of personal data, its cursors, what it refused, and what is to be forgotten.

Guarantees: rows of a batch and the cursor behind it are one transaction, and a cursor that another keeper moved raises
Fenced: nothing of the batch stays. A row is added and never replaced: (event id, digest) is its key. No other role can
lock a row here, so nobody else is waited for.
Does not: read back what it wrote, delete what no erasure is on record of, keep a row whose digest is not its entry's,
or say what was erased: the role may not. Needs the grants of finance_keeper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg

from ledger_core.books.personal import NewRow, RefusedRow, WaitingRow
from ledger_core.postgres.session import translated
from ledger_core.posting.store_port import Fenced

CANDIDATES_MAX: Final = 8  # of one event id, while its entry is not there: the newest stay
REMEMBERED: Final = "1 hour"  # how long a new erasure is carried out again and again: who wrote meanwhile is met
CROWDED_OUT: Final = "crowded_out"
PAGE: Final = 2_000

ERASED: Final = """
SELECT event_id::text FROM personal_erasures WHERE event_id = ANY (%(ids)s::uuid[])
UNION SELECT event_id::text FROM personal_forgotten WHERE event_id = ANY (%(ids)s::uuid[])"""
DIGESTS: Final = "SELECT event_id::text, digest FROM personal_digests(%s::uuid[])"
INSERT: Final = """
INSERT INTO personal_data (event_id, digest, pii, salt, source_partition, source_offset)
SELECT * FROM unnest(%s::uuid[], %s::bytea[], %s::bytea[], %s::bytea[], %s::int[], %s::bigint[])
ON CONFLICT DO NOTHING"""
CROWDED: Final = f"SELECT * FROM thin_waiting_personal(%s::uuid[], {CANDIDATES_MAX})"
REFUSE: Final = """
INSERT INTO personal_refused (source_partition, source_offset, digest, reason)
SELECT * FROM unnest(%s::int[], %s::bigint[], %s::bytea[], %s::text[]) ON CONFLICT DO NOTHING"""
FIRST: Final = "INSERT INTO personal_cursors VALUES (%s, %s) ON CONFLICT DO NOTHING"
MOVE: Final = "UPDATE personal_cursors SET next_offset = %s WHERE source_partition = %s AND next_offset = %s"
WAITING: Final = """
SELECT event_id::text, digest, arrival, source_partition, source_offset,
       received_at < clock_timestamp() - make_interval(days => %s)
  FROM personal_data WHERE NOT kept AND arrival > %s ORDER BY arrival LIMIT %s"""
KEEP: Final = """
UPDATE personal_data d SET kept = true FROM unnest(%s::uuid[], %s::bytea[]) AS w (event_id, digest)
 WHERE d.event_id = w.event_id AND d.digest = w.digest"""
DROP: Final = "SELECT drop_waiting_personal(%s::uuid[], %s::bytea[])"
PRUNE: Final = "SELECT prune_personal_refused(%s)"
CHAINED: Final = "SELECT event_id::text FROM take_chained_erasures(%s)"
RECENT: Final = f"""
SELECT event_id::text FROM personal_erasures WHERE erased_at > clock_timestamp() - interval '{REMEMBERED}'"""
FORGET: Final = "SELECT forget_personal_of(%s::uuid[])"
FORGET_ALL: Final = "SELECT forget_personal()"


class KeeperStore:
    """On a connection in autocommit mode. Every method may raise Unavailable("postgres") and Refused."""

    def __init__(self, connection: psycopg.Connection[Any], waiting_days: int) -> None:
        self._connection = connection
        self._waiting_days = waiting_days

    @translated()
    def next_offset(self, partition: int) -> int:
        """Where to read a partition of the side topic; 0 before the first record."""
        row = self._connection.execute(
            "SELECT next_offset FROM personal_cursors WHERE source_partition = %s", (partition,)
        ).fetchone()
        return 0 if row is None else int(row[0])

    @translated()
    def known(self, event_ids: Sequence[str]) -> tuple[dict[str, bytes | None], set[str]]:
        """The digests of the entries that stand (None: the entry has none), and which event ids were erased."""
        ids = list(event_ids)
        digests = dict(self._connection.execute(DIGESTS, (ids,), binary=True).fetchall())
        erased = {event_id for (event_id,) in self._connection.execute(ERASED, {"ids": ids})}
        return digests, erased

    @translated()
    def write(
        self, partition: int, offset: int, next_offset: int, rows: Sequence[NewRow], refused: Sequence[RefusedRow]
    ) -> int:
        """Add the rows of a batch, note what was refused, and move the cursor from `offset`; how many rows were too
        many for their event id. Raises Fenced where another keeper moved it."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(FIRST, (partition, 0))
            cursor.execute(MOVE, (next_offset, partition, offset))
            if cursor.rowcount != 1:
                raise Fenced(f"another keeper reads partition {partition}")
            crowded: list[RefusedRow] = []
            if rows:
                columns = [list(column) for column in zip(*rows, strict=True)]
                cursor.execute(INSERT, (*columns[:4], [partition] * len(rows), columns[4]))
                cursor.execute(CROWDED, (sorted(set(columns[0])),), binary=True)
                crowded = [RefusedRow(source, at, digest, CROWDED_OUT) for source, at, digest in cursor.fetchall()]
            self._refuse(cursor, [*refused, *crowded])
        return len(crowded)

    @translated()
    def waiting(self, after: int, limit: int) -> list[WaitingRow]:
        """Rows that wait behind `after`, in the order in which they came."""
        rows = self._connection.execute(WAITING, (self._waiting_days, after, limit), binary=True)
        return [WaitingRow(*row) for row in rows]

    @translated()
    def settle(self, keep: Sequence[WaitingRow], drop: Sequence[tuple[WaitingRow, str]]) -> None:
        """What became of rows that waited, and why they go; one transaction. Twice is the same as once."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            for statement, rows in ((KEEP, keep), (DROP, [row for row, _ in drop])):
                if rows:
                    cursor.execute(statement, ([row.event_id for row in rows], [row.digest for row in rows]))
            self._refuse(cursor, [RefusedRow(row.partition, row.offset, row.digest, word) for row, word in drop])

    @translated()
    def forget(self, *, everything: bool) -> int:
        """Delete what was erased lately, by an operator here or as the chain says; how many rows went. `everything`:
        whatever was ever erased, as after a start."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            chained = cursor.execute(CHAINED, (PAGE,)).fetchall()
            if everything:
                return self._count(cursor, FORGET_ALL, None)
            ids = [event_id for (event_id,) in chained] + [event_id for (event_id,) in cursor.execute(RECENT)]
            return self._count(cursor, FORGET, (ids,)) if ids else 0

    @translated()
    def prune(self) -> None:
        """Let go of notes about records that were refused longer ago than data may wait."""
        self._connection.execute(PRUNE, (self._waiting_days,))

    def close(self) -> None:
        self._connection.close()

    @staticmethod
    def _count(cursor: psycopg.Cursor[Any], statement: str, values: tuple[list[str]] | None) -> int:
        row = cursor.execute(statement.encode(), values).fetchone()
        return 0 if row is None else int(row[0])

    @staticmethod
    def _refuse(cursor: psycopg.Cursor[Any], refused: Sequence[RefusedRow]) -> None:
        if refused:
            cursor.execute(REFUSE, tuple(list(column) for column in zip(*refused, strict=True)))
