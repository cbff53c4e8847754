"""Halts: rows that every poster reads within a second (G10), and the rows that lift them.

Guarantees: posting is halted while a halt is not lifted; whoever halts waits for nobody's lock, and a resume lifts the
halts that it sees, never one that comes meanwhile. The database leaves the audit intent in the same transaction, and
checks in whose name: each role halts in its own, operators alone lift (migration 0022). Asking again for the same halt
(same actor, same reason) changes nothing and leaves no intent; another one is recorded beside the first.
Does not: stop a process. Consuming pauses where it is, nothing is lost, and `resume` goes on from there.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from ledger_core.audit.admission import checked_reason
from ledger_core.postgres.session import Session, session

_OPEN: Final = "NOT EXISTS (SELECT FROM halts_lifted l WHERE l.halt_no = h.halt_no)"
HALTED: Final = f"SELECT EXISTS (SELECT FROM halts h WHERE {_OPEN})"
_FIRST_HALT: Final = f"SELECT reason, actor_id, halted_at FROM halts h WHERE {_OPEN} ORDER BY halt_no LIMIT 1"
_LAST_LIFTED: Final = (
    "SELECT reason, actor_id, lifted_at FROM halts_lifted ORDER BY lifted_at DESC, halt_no DESC LIMIT 1"
)
_HALT: Final = f"""
INSERT INTO halts (reason, actor_id, trace_id, shard)
SELECT %(reason)s, %(actor)s, %(trace)s, %(shard)s
 WHERE NOT EXISTS (SELECT FROM halts h WHERE h.reason = %(reason)s AND h.actor_id = %(actor)s AND {_OPEN})"""
_LIFT: Final = f"""
INSERT INTO halts_lifted (halt_no, reason, actor_id, trace_id)
SELECT halt_no, %(reason)s, %(actor)s, %(trace)s FROM halts h WHERE {_OPEN} ORDER BY halt_no
ON CONFLICT DO NOTHING"""


@dataclass(frozen=True, slots=True)
class Control:
    """Whether posting is halted; the rest is of the oldest halt that is not lifted, or else of the last lifting. None
    where there never was one."""

    halted: bool  # whether posting is stopped
    reason: str | None  # in the words of whoever halted, or resumed
    actor_id: str | None  # service:<name> or operator:<name>
    changed_at: dt.datetime | None  # UTC; the database's clock


def read_control(connection: Session) -> Control:
    """What holds now. Raises Refused on a database that was not migrated."""
    halt = connection.execute(_FIRST_HALT).fetchone()
    if halt is not None:
        return Control(True, *halt)
    lifted = connection.execute(_LAST_LIFTED).fetchone()
    return Control(False, None, None, None) if lifted is None else Control(False, *lifted)


def is_halted(cursor: psycopg.Cursor[Any]) -> bool:
    """Whether posting is halted, asked in the cursor's own transaction."""
    row = cursor.execute(HALTED).fetchone()
    return bool(row and row[0])


def record_halt(
    cursor: psycopg.Cursor[Any], *, reason: str, actor_id: str, trace_id: str, shard: int | None = None
) -> bool:
    """Halt in the cursor's own transaction. False when this actor halted for this reason already. `shard`: the one
    whose records led to it."""
    cursor.execute(_HALT, {"reason": reason, "actor": actor_id, "trace": trace_id, "shard": shard})
    return cursor.rowcount == 1


def halt(dsn: str, *, reason: str, actor_id: str, trace_id: str) -> bool:
    """Stop all posting. True when this halt was recorded, False when it stands on record and is not lifted.

    Raises Refused (no reason, or one that is not plain text), Unavailable.
    """
    text = checked_reason(reason)
    with session(dsn, application_name="finance control") as connection, connection.cursor() as cursor:
        return record_halt(cursor, reason=text, actor_id=actor_id, trace_id=trace_id)


def resume(dsn: str, *, reason: str, actor_id: str, trace_id: str) -> bool:
    """Let posting go on: lift every halt that is on record. False when there was none. Raises as `halt`."""
    text = checked_reason(reason)
    with session(dsn, application_name="finance control") as connection, connection.cursor() as cursor:
        cursor.execute(_LIFT, {"reason": text, "actor": actor_id, "trace": trace_id})
        return cursor.rowcount > 0
