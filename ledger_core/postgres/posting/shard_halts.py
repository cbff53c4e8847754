"""One shard's halt, and the decision that ends it: who may write which is the database's word (migration 0026).

Guarantees: a halt and its audit event are one change, and so are a decision and its event: the tables write them. A
shard that is halted is not halted again. A decision is an operator's, and ends the newest halt that it names.
Does not: stop all posting (`ledger_core.postgres.posting.control`), or read a topic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import psycopg
from psycopg import errors

from ledger_core.audit.admission import checked_reason
from ledger_core.errors import Refused
from ledger_core.postgres.session import Session, session
from ledger_core.posting.store_port import HaltKind, ShardHalt

NEWEST: Final = """
SELECT s.shard, h.halt_id, h.kind, h.at_offset, h.detail, h.halted_at, r.halt_id IS NOT NULL, r.set_aside_offset,
       (SELECT coalesce(max(b.allowed_offset), 0) FROM shard_halts a JOIN shard_resumes b USING (halt_id)
         WHERE a.shard = s.shard)
  FROM shards s
 CROSS JOIN LATERAL (SELECT * FROM shard_halts WHERE shard = s.shard ORDER BY halt_id DESC LIMIT 1) h
  LEFT JOIN shard_resumes r USING (halt_id)"""
OF_SHARDS: Final = NEWEST + " WHERE s.shard = ANY(%s)"
SET_ASIDE_END: Final = """
WITH RECURSIVE aside AS (
    SELECT source_offset FROM verdicts
     WHERE shard = %(shard)s AND source_offset = %(offset)s AND reason = 'unreadable'
    UNION ALL
    SELECT v.source_offset FROM aside a JOIN verdicts v ON v.source_offset = a.source_offset + 1
     WHERE v.shard = %(shard)s AND v.reason = 'unreadable')
SELECT coalesce(max(source_offset) + 1, %(offset)s) FROM aside"""
INSERT_HALT: Final = "INSERT INTO shard_halts (shard, kind, at_offset, detail) VALUES (%s, %s, %s, %s)"
INSERT_RESUME: Final = """
INSERT INTO shard_resumes (halt_id, actor_id, reason, trace_id, allowed_offset, set_aside_offset)
VALUES (%s, %s, %s, %s, %s, %s)"""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's, on one halt."""

    halt: ShardHalt  # the one that it ends
    actor_id: str  # operator:<name>
    reason: str  # one plain line, for the audit chain
    trace_id: str  # 32 hex digits
    allowed_offset: int | None = None  # of dead letters: rejections below it do not count towards the limit
    set_aside_offset: int | None = None  # of an unreadable record: the offsets before it are rejected; None: read again


def read_halts(connection: psycopg.Connection[Any], shards: Iterable[int]) -> dict[int, ShardHalt]:
    """The newest halt of each of these shards that had one."""
    return {row[0]: ShardHalt(*row) for row in connection.execute(OF_SHARDS, [list(shards)])}


def is_shard_halted(cursor: psycopg.Cursor[Any], shard: int) -> bool:
    """Whether this shard alone is halted, asked in the cursor's own transaction."""
    row = cursor.execute("SELECT shard_is_halted(%s)", (shard,)).fetchone()
    return bool(row and row[0])


def halt_shard(connection: psycopg.Connection[Any], shard: int, kind: HaltKind, at_offset: int, detail: str) -> None:
    """Halt it, unless it is halted. Needs the role finance_poster."""
    connection.execute(INSERT_HALT, (shard, kind, at_offset, detail))


def open_halts(connection: Session) -> list[ShardHalt]:
    """The halts that nobody has ended, by shard."""
    found = (ShardHalt(*row) for row in connection.execute(NEWEST + " ORDER BY s.shard"))
    return [halt for halt in found if not halt.resumed]


def open_halt(dsn: str, shard: int) -> ShardHalt | None:
    """The halt of one shard that nobody has ended. Raises Unavailable, Refused."""
    with session(dsn, application_name="finance shards", read_only=True) as connection:
        return next((halt for halt in open_halts(connection) if halt.shard == shard), None)


def decide(dsn: str, decision: Decision) -> None:
    """End the halt, with its audit event. Raises Refused (ended meanwhile, no plain reason, a role that may not),
    Unavailable."""
    told = checked_reason(decision.reason)
    values = (decision.halt.halt_id, decision.actor_id, told, decision.trace_id)
    with session(dsn, application_name="finance shards") as connection:
        try:
            connection.execute(INSERT_RESUME, (*values, decision.allowed_offset, decision.set_aside_offset))
        except errors.UniqueViolation as error:
            raise Refused("somebody ended this halt meanwhile", remedy="see `finance status`") from error


def set_aside_end(connection: Session, shard: int, offset: int) -> int:
    """The offset behind those that were rejected as unreadable, one after the other from `offset` on; `offset` itself
    where it was not."""
    row = connection.execute(SET_ASIDE_END, {"shard": shard, "offset": offset}).fetchone()
    return offset if row is None else int(row[0])
