"""Verdicts that posted nothing, in a projection: written by the projector, found by event and settlement.

Guarantees: a batch and the cursor behind it are one transaction, and a cursor that another projector moved raises
Fenced. Does not: know why in words (decision 123): the ledger does, by shard and offset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import sql

from ledger_core.books.event_rules import is_name
from ledger_core.postgres.reading.projection_places import Projection, hold, standing
from ledger_core.postgres.session import Session
from ledger_core.posting.store_port import Fenced
from ledger_core.reading.verdicts import OutcomeReach, OutcomesRead, ProjectedVerdict

CURSOR: Final = "SELECT shard, decided, complete_from, next_offset FROM outcomes WHERE shard = %s"
FIRST: Final = "INSERT INTO outcomes (shard) VALUES (%s) ON CONFLICT DO NOTHING"
MOVE: Final = """
UPDATE outcomes SET decided = %s, complete_from = %s, next_offset = %s
 WHERE shard = %s AND decided IS NOT DISTINCT FROM %s AND next_offset = %s"""
INSERT: Final = """
INSERT INTO verdicts (shard, source_offset, event_id, settlement_id, verdict, reason)
SELECT * FROM unnest(%s::int4[], %s::int8[], %s::uuid[], %s::text[], %s::text[], %s::text[])"""
OFFSET: Final = "SELECT source_offset FROM entries WHERE shard = %s AND seq = %s"
COUNT: Final = "SELECT count(*) FROM verdicts WHERE shard = %s AND source_offset >= %s AND source_offset < %s"
COLUMNS: Final = "shard, source_offset, event_id::text, settlement_id, verdict, reason"
BEHIND: Final = "AND (shard, source_offset) > (%s, %s) ORDER BY shard, source_offset LIMIT %s"
OF_EVENT: Final = f"SELECT {COLUMNS} FROM verdicts WHERE event_id = %s::uuid {BEHIND}"
OF_SETTLEMENT: Final = f'SELECT {COLUMNS} FROM verdicts WHERE settlement_id = %s COLLATE "C" {BEHIND}'


# The settlement is the record's key: that of its original, or of the entry that it repeats.
OF_LEDGER: Final = """
SELECT v.source_offset, v.event_id::text, d.key, convert_from(e.body, 'UTF8')::json ->> 'settlement_id', v.verdict,
       v.reason
  FROM verdicts v LEFT JOIN dead_letters d USING (shard, source_offset)
  LEFT JOIN entries e ON v.verdict = 'duplicate' AND e.event_id = v.event_id
 WHERE v.shard = %s AND v.source_offset < %s ORDER BY v.source_offset"""
RELAYED: Final = "SELECT relayed_offset FROM shards WHERE shard = %s"
FETCHED: Final = 2_000  # rows at once
INCOMPLETE: Final = "SELECT shard, complete_from FROM outcomes WHERE complete_from <> 0 ORDER BY shard"


class VerdictStore:
    """On a connection in autocommit mode that entered the projection. Every method may raise Unavailable("postgres")
    and Refused; `write` raises TakenOver once another projection was switched to."""

    def __init__(self, connection: psycopg.Connection[Any], projection: Projection) -> None:
        self._connection = connection
        self._projection = projection

    @standing()
    def reach(self, shard: int) -> OutcomeReach:
        """How far the outcomes of a shard were read."""
        row = self._connection.execute(CURSOR, (shard,)).fetchone()
        return OutcomeReach(shard) if row is None else OutcomeReach(*row)

    @standing()
    def newest_offset(self, shard: int, seq: int) -> int | None:
        """The settlements offset of an entry; None for sequence 0."""
        row = self._connection.execute(OFFSET, (shard, seq)).fetchone()
        return None if row is None else int(row[0])

    @standing()
    def count_between(self, shard: int, first: int, end: int) -> int:
        """How many settlements offsets `[first, end)` have a verdict that posted nothing."""
        row = self._connection.execute(COUNT, (shard, first, end)).fetchone()
        return 0 if row is None else int(row[0])

    @standing()
    def write(self, before: OutcomeReach, read: OutcomesRead) -> None:
        """Add the rows of a batch and move the cursor from `before`. Raises Fenced."""
        after = read.reach
        with self._connection.transaction(), self._connection.cursor() as cursor:
            hold(cursor, self._projection)
            cursor.execute(FIRST, (before.shard,))
            cursor.execute(MOVE, (*after[1:], before.shard, before.decided, before.next_offset))
            if cursor.rowcount != 1:
                raise Fenced(f"another projector reads the outcomes of shard {before.shard}")
            if read.rows:
                cursor.execute(INSERT, tuple(list(column) for column in zip(*read.rows, strict=True)))


@standing()
def carry_verdicts(
    connection: psycopg.Connection[Any], of: Projection, to: Projection, shard: int, first: int | None, next_offset: int
) -> None:
    """Take verdicts of a shard over from another projection, as far as the outcomes topic no longer holds them: those
    in front of `first`, the settlements offset of its oldest record (None: it holds none, and all are taken). Only into
    a projection that has none of that shard, and only where none is missing in between."""
    before = sql.Identifier(of.place)
    with connection.transaction(), connection.cursor() as cursor:
        hold(cursor, to)
        row = cursor.execute(
            sql.SQL("SELECT decided, complete_from FROM {}.outcomes WHERE shard = %s").format(before), (shard,)
        ).fetchone()
        if row is None or row[0] is None or row[1] is None or cursor.execute(CURSOR, (shard,)).fetchone() is not None:
            return
        end = row[0] if first is None else first
        if not row[1] < end <= row[0]:
            return
        cursor.execute(
            sql.SQL("INSERT INTO verdicts SELECT * FROM {}.verdicts WHERE shard = %s AND source_offset < %s").format(
                before
            ),
            (shard, end),
        )
        cursor.execute("INSERT INTO outcomes VALUES (%s, %s, %s, %s)", (shard, end, row[1], next_offset))


def take_from_ledger(
    connection: psycopg.Connection[Any], ledger: Session, to: Projection, shard: int, first: int | None, offset: int
) -> None:
    """The same from the ledger's own verdict log, for which nothing is too old, by the rights of whoever opened
    `ledger`. `offset`: of the outcomes topic, behind which the projection goes on."""
    # Asked first: without a ledger there, no error may look like a projection that was replaced.
    row = ledger.execute(RELAYED, (shard,)).fetchone()
    end = first if first is not None else int(row[0]) if row is not None else 0
    with standing(), connection.transaction(), connection.cursor() as cursor, ledger.transaction():
        hold(cursor, to)
        if not end or cursor.execute(CURSOR, (shard,)).fetchone() is not None:
            return
        with ledger.cursor(name="verdicts") as theirs:
            theirs.execute(OF_LEDGER, (shard, end))
            while found := theirs.fetchmany(FETCHED):
                rows = [_of_ledger(shard, *it) for it in found]
                cursor.execute(INSERT, tuple(list(column) for column in zip(*rows, strict=True)))
        cursor.execute("INSERT INTO outcomes VALUES (%s, %s, 0, %s)", (shard, end, offset))


def _of_ledger(
    shard: int, offset: int, event_id: str | None, key: bytes | None, settlement: str | None, verdict: str, reason: str
) -> ProjectedVerdict:
    name = settlement if key is None else key.decode(errors="replace")
    return ProjectedVerdict(
        shard, offset, event_id, name if name is not None and is_name(name) else None, verdict, reason
    )


def verdicts_of_event(
    connection: psycopg.Connection[Any], event_id: str, *, after: tuple[int, int] = (-1, 0), limit: int
) -> Sequence[ProjectedVerdict]:
    """What became of records with this event id that posted nothing, behind (shard, offset). It must be a UUID."""
    return [ProjectedVerdict(*row) for row in connection.execute(OF_EVENT, (event_id, *after, limit))]


def verdicts_of_settlement(
    connection: psycopg.Connection[Any], settlement_id: str, *, after: tuple[int, int] = (-1, 0), limit: int
) -> Sequence[ProjectedVerdict]:
    """The same of a settlement."""
    return [ProjectedVerdict(*row) for row in connection.execute(OF_SETTLEMENT, (settlement_id, *after, limit))]


def verdicts_known_from(connection: psycopg.Connection[Any]) -> Mapping[int, int]:
    """Of shards whose older verdicts are not known here: the settlements offset from which on they are."""
    return dict(connection.execute(INCOMPLETE).fetchall())
