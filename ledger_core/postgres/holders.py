"""Who has what this session needs, in words that an operator can act on; and the locks of our own making.

Guarantees: a session is named by pid, role, application and host, so far as this role may see them; whoever does not
get a lock learns who has it. An advisory lock ends with its session, however that ends.
Does not: end anybody (RUNBOOK, section 14), or wait. An advisory lock keeps out only those who ask for it, and any role
may take it: what must keep out others is a row or a table of ours (`jobs`).
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from ledger_core.errors import Refused

# Of `a`, a row of pg_stat_activity. When a session began, and where from, is hidden from roles without
# pg_read_all_stats unless it is of their own role. No percent sign: with and without parameters this is the same text.
WORDS: Final = """'session ' || a.pid || ' of ' || coalesce(a.usename, '?')
     || CASE WHEN a.application_name <> '' THEN ' (' || a.application_name || ')' ELSE '' END
     || CASE WHEN a.backend_start IS NULL THEN '' WHEN a.client_addr IS NULL THEN ' on the host of Postgres'
             ELSE ' from ' || host(a.client_addr) END"""

_TRY: Final = "SELECT pg_try_advisory_lock(%s)"
_ADVISORY: Final = f"""
SELECT {WORDS} FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND l.granted AND a.datname = current_database() AND l.objsubid = 1
   AND (l.classid::bigint << 32 | l.objid::bigint) = %s"""
_SESSION: Final = f"SELECT {WORDS} FROM pg_stat_activity a WHERE a.pid = %s"
_SLOT: Final = f"""
SELECT {WORDS} FROM pg_replication_slots s JOIN pg_stat_activity a ON a.pid = s.active_pid WHERE s.slot_name = %s"""
END: Final = "wait for it, or end it (`SELECT pg_terminate_backend(PID)`; RUNBOOK, section 14), then try again"


def hold_advisory(connection: psycopg.Connection[Any], key: int, what: str) -> None:
    """Take the advisory lock `key` until this session ends. `what` says what another session does meanwhile. Raises
    Refused, naming it, and psycopg's errors."""
    row = connection.execute(_TRY, [key]).fetchone()
    if row is None or not row[0]:
        raise held(what, _first(connection, _ADVISORY, key))


def session_words(connection: psycopg.Connection[Any], pid: int) -> str:
    """Who the backend `pid` is; '' when it is gone. Raises psycopg's errors."""
    return _first(connection, _SESSION, pid)


def slot_words(connection: psycopg.Connection[Any], slot: str) -> str:
    """Who uses a replication slot; '' when nobody does. Raises psycopg's errors."""
    return _first(connection, _SLOT, slot)


def held(what: str, words: str) -> Refused:
    """The refusal that names who has it; `words` of one of the functions above."""
    return Refused(f"{what}: {words or 'it has ended by now'}", remedy=END)


def _first(connection: psycopg.Connection[Any], query: str, value: object) -> str:
    row = connection.execute(query.encode(), [value]).fetchone()
    return "" if row is None else str(row[0])
