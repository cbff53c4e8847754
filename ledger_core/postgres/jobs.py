"""Jobs that one session at a time may do: who has one, and how it is taken.

Guarantees: `take` gives a job to a session while no living session has it; it is free again with the end of that
session, however it ends. Nobody but the job's own role, and the owner, can take it or keep others waiting for it: the
row is theirs by policy (migration 0024). An advisory lock would be anybody's.
Does not: wait. A job's row is locked for as long as two statements take.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import psycopg

from ledger_core.errors import Refused

Job = Literal["notary", "signers"]

# The row first: whoever had it has committed by then, and stands among the sessions that the second statement sees.
_LOCK: Final = "SELECT 1 FROM job_holders WHERE job = %s FOR UPDATE"
_ALIVE: Final = """
SELECT a.pid FROM job_holders h JOIN pg_stat_activity a ON a.pid = h.pid AND a.usename = h.taken_by
 WHERE h.job = %s AND coalesce(a.backend_start, h.backend_start) = h.backend_start AND a.pid <> pg_backend_pid()
"""  # when a session of another role began is hidden: it counts as the one that has the job
_TAKE: Final = f"""
UPDATE job_holders AS mine SET pid = me.pid, backend_start = me.backend_start, taken_by = me.usename
  FROM pg_stat_activity AS me
 WHERE mine.job = %s AND me.pid = pg_backend_pid() AND NOT EXISTS ({_ALIVE})
"""


def take(connection: psycopg.Connection[Any], job: Job) -> bool:
    """Become the one that does the job, until this session ends; False while another session does it.

    Raises Refused for a role whose job it is not, and psycopg's errors.
    """
    with connection.transaction():
        if connection.execute(_LOCK, [job]).fetchone() is None:
            raise Refused(
                f"the job {job} is not this database role's",
                remedy="connect as the role of this process, see DATABASE_URL_* in docs/CONFIGURATION.md",
            )
        return connection.execute(_TAKE, [job, job]).rowcount == 1


def holder(connection: psycopg.Connection[Any], job: Job) -> int | None:
    """The backend's pid of the other session that does the job; None while there is none."""
    row = connection.execute(_ALIVE, [job]).fetchone()
    return None if row is None else int(row[0])
