"""An operator's decisions to accept the times of a shard's records, which a broker's wrong clock dated ahead.

Guarantees: a decision leaves its audit event (`shard.times_accepted`) itself, by a trigger, and it stays. It reaches
to the newest time among the entries that no range holds yet, and no further.
Does not: change a time, an entry or a proof.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import psycopg

from ledger_core.audit.admission import checked_reason
from ledger_core.errors import Refused
from ledger_core.postgres.session import database_clock, session
from ledger_core.proving.statement_time import CLOCK_SKEW_SECONDS_MAX

ACCEPTED: Final = "SELECT max(upto) FROM time_decisions WHERE shard = %s"
# Of the entries behind the newest range, by their key: what waits for the time, and what came meanwhile.
NEWEST_TIME: Final = """
SELECT max(recorded_at) FROM entries WHERE shard = %(shard)s
   AND seq > (SELECT coalesce(max(last_seq), 0) FROM ranges WHERE shard = %(shard)s)"""
INSERT: Final = "INSERT INTO time_decisions (shard, upto, reason, actor_id, trace_id) VALUES (%s, %s, %s, %s, %s)"


def accepted_until(connection: psycopg.Connection[Any], shard: int) -> dt.datetime | None:
    """Up to which time the records of a shard may be dated ahead of the clocks; None without a decision."""
    row = connection.execute(ACCEPTED, (shard,)).fetchone()
    return None if row is None else row[0]


def accept(dsn: str, *, shard: int, reason: str, actor_id: str, trace_id: str) -> dt.datetime:
    """Write a decision down; up to which time it reaches. Needs the grants of finance_api.

    Raises Refused (no plain reason; no entry of the shard is dated ahead, or it is accepted already), Unavailable.
    """
    reason = checked_reason(reason)
    with (
        session(dsn, application_name="finance shards") as connection,
        connection.transaction(),
        connection.cursor() as cursor,
    ):
        (newest,) = cursor.execute(NEWEST_TIME, {"shard": shard}).fetchone() or (None,)
        ahead = None if newest is None else (newest - database_clock(connection)).total_seconds()
        accepted = accepted_until(connection, shard)
        if ahead is None or ahead <= CLOCK_SKEW_SECONDS_MAX or (accepted is not None and newest <= accepted):
            raise Refused(
                f"no entry of shard {shard} waits for a time that has not come",
                remedy="see `finance status`, and the prover's log, for what it waits for",
            )
        upto: dt.datetime = newest
        cursor.execute(INSERT, (shard, upto, reason, actor_id, trace_id))
        return upto
