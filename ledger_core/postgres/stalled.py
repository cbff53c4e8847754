"""The end of a session that stands in our way and gets nowhere.

A backend that takes rows from its client (COPY, statements sent in one go), or hands it a long answer, waits for that
client as long as its host answers: no time-out of Postgres ends it there, and it keeps its locks. A poster that froze
in the middle of COPY would stop its shard, and everybody who wants a lock beside it, for ever.

So a second session watches the waits of a `WatchedConnection`. It ends a session which, at STALLED_CHECKS
checks in a row, blocks ours (it holds the very lock that we wait for), is of our own role and database, and is in the
middle of a statement, waiting for its client, without a byte of progress.

One that idles in a transaction the server ends by its own limit, but for one kind: the limit runs from the end of a
statement to the next message, and a Flush is one (protocol, "Extended Query"), which begins nothing that another limit
holds for. psycopg sends one after each statement for many. So such a session is ended here once it is over its limit.

Guarantees: a session that works, waits for a lock or for the disk, moves on between two checks, or is idle within its
limit is left alone. Whoever was ended finds its connection gone: nothing of its transaction is written, and that is
Unavailable. A wait of seconds is logged, with the sessions that cause it.
Does not: decide who owns a shard; the group and the compare-and-swap of the head do. Sessions of other roles are an
operator's affair (RUNBOOK, section 14).
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import weakref
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg.abc import PQGen

from ledger_core.postgres.holders import WORDS

CHECK_EVERY_SECONDS: Final = 0.25  # a wait that ends in less is nobody's concern
STALLED_CHECKS: Final = 5  # a second: a client that works leaves no such gap in the middle of a statement
TOLD_CHECKS: Final = 12  # three seconds behind the same sessions: who they are is logged, once
CONNECT_TIMEOUT_SECONDS: Final = 2
OTHERS_IDLE_MS_MAX: Final = 60_000  # in a transaction: no session of ours may do so for longer
IDLE_SLACK_MS: Final = 250  # the server itself comes first
OPTIONS: Final = "-c statement_timeout=2000 -c idle_session_timeout=10000"

_BLOCKING: Final = f"""
SELECT a.pid, {WORDS}
  FROM pg_stat_activity a WHERE a.pid = ANY (pg_blocking_pids(%s))
"""
_STALLED: Final = """
SELECT a.pid, a.backend_start, a.query_start, a.state_change, a.state, coalesce(p.bytes_processed, 0)
  FROM pg_stat_activity a LEFT JOIN pg_stat_progress_copy p ON p.pid = a.pid
 WHERE a.pid = ANY (%s) AND a.usename = session_user AND a.datname = current_database()
   AND a.wait_event_type = 'Client'
   AND (a.state = 'active'
        OR a.state LIKE 'idle in transaction%%' AND clock_timestamp() - a.state_change > interval '1 ms' * (
           CASE WHEN a.application_name = %s THEN %s ELSE %s END))
"""
_END: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE (pid, backend_start, query_start, state_change, state) = (%s, %s, %s, %s, %s)
   AND wait_event_type = 'Client'
"""

RV = TypeVar("RV")
log = logging.getLogger("postgres.stalled")


class Stalled(NamedTuple):
    """A session that waits for its client, and how far it has come. Equal at two checks: it stands still."""

    pid: int  # of the backend
    backend_start: dt.datetime  # with the pid, one session for ever
    query_start: dt.datetime  # of the statement it is in, or was in
    state_change: dt.datetime  # when it became active, or idle
    state: str  # active, or idle in a transaction for longer than it may be
    bytes_processed: int  # of its COPY; 0 for another statement


class StandingStill:
    """What was seen of some sessions at one check after the other. `idle_ms_max`: for how long a session of the same
    application may idle in a transaction."""

    def __init__(self, application_name: str, idle_ms_max: int) -> None:
        slack = IDLE_SLACK_MS
        self._limits = (application_name, idle_ms_max + slack, max(OTHERS_IDLE_MS_MAX, idle_ms_max) + slack)
        self._seen: dict[Stalled, int] = {}  # at so many checks in a row

    def check(self, connection: psycopg.Connection[Any], pids: Sequence[int]) -> None:
        """End those of the sessions that stand still, and are of this connection's role. Raises psycopg's errors."""
        found = [Stalled(*row) for row in connection.execute(_STALLED, [list(pids), *self._limits])]
        self._seen = {it: self._seen.get(it, 0) + 1 for it in found}
        for stalled, checks in self._seen.items():
            if checks >= STALLED_CHECKS or stalled.state != "active":
                connection.execute(_END, stalled[:5])
                log.warning("session %d kept its locks and got nowhere: its client is frozen; ended", stalled.pid)


class WatchedConnection(psycopg.Connection[Any]):
    """A connection that numbers its client's waits for the server: odd while it waits, even while it does not."""

    waits: int = 0

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        self.waits += 1
        try:
            return super().wait(gen, interval, timeout)
        finally:
            self.waits += 1


def watch(connection: WatchedConnection, dsn: str, still: StandingStill) -> None:
    """Watch the waits of a connection until it is closed or forgotten, from a thread of its own."""
    watcher = _Watcher(connection, dsn, still)
    threading.Thread(target=watcher.run, name=f"waits of session {watcher.pid}", daemon=True).start()


class _Watcher:
    def __init__(self, connection: WatchedConnection, dsn: str, still: StandingStill) -> None:
        self.pid = connection.info.backend_pid
        self._waiting = weakref.ref(connection)
        self._dsn = dsn
        self._checking: psycopg.Connection[Any] | None = None
        self._still = still
        self._behind: tuple[frozenset[str], int] = (frozenset(), 0)  # whom it waits for, at so many checks in a row

    def run(self) -> None:
        pause, before = threading.Event(), 0
        while not pause.wait(CHECK_EVERY_SECONDS):
            connection = self._waiting()
            if connection is None or connection.closed:
                break
            waits = connection.waits
            del connection  # or this thread would keep it
            if waits % 2 and waits == before:
                self._check()
            else:
                self._stop_checking()
            before = waits
        self._stop_checking()

    def _check(self) -> None:
        try:
            if self._checking is None:
                self._checking = psycopg.connect(
                    self._dsn,
                    autocommit=True,
                    application_name="finance-waits",
                    connect_timeout=CONNECT_TIMEOUT_SECONDS,
                    options=OPTIONS,
                )
            blocking = dict(self._checking.execute(_BLOCKING.encode(), [self.pid]).fetchall())
            self._still.check(self._checking, list(blocking))
            self._tell(frozenset(blocking.values()))
        except psycopg.Error as error:  # the server is away, or full: whoever waits will learn it by its own limits
            log.info("what session %d waits for cannot be checked: %s", self.pid, error)
            self._stop_checking()

    def _tell(self, behind: frozenset[str]) -> None:
        checks = self._behind[1] + 1 if behind == self._behind[0] else 1
        self._behind = (behind, checks)
        if behind and checks == TOLD_CHECKS:
            log.warning("session %d waits for a lock that is held by %s", self.pid, ", ".join(sorted(behind)))

    def _stop_checking(self) -> None:
        self._behind = (frozenset(), 0)
        if self._checking is not None:
            self._checking.close()
            self._checking = None
