"""An operator's decisions to have the lock of one object counted from now, because its own time is of a wrong clock.

Guarantees: a decision leaves its audit event (`archive.lock_decided`) itself, by a trigger; its time is the database's,
and it stays. Deciding twice changes nothing. Does not: lock anything: the archiver does, when it stores the object.
"""

from __future__ import annotations

import datetime as dt

from ledger_core.audit.admission import checked_reason, checked_words
from ledger_core.errors import Refused
from ledger_core.postgres.session import session

INSERT = """
INSERT INTO lock_decisions (object_key, reason, actor_id, trace_id) VALUES (%s, %s, %s, %s)
ON CONFLICT DO NOTHING RETURNING decided_at"""
STORED = """
SELECT EXISTS (SELECT 1 FROM archive_objects WHERE object_key = %(key)s)
    OR EXISTS (SELECT 1 FROM audit_exports WHERE object_key = %(key)s)"""


def decide(dsn: str, *, object_key: str, reason: str, actor_id: str, trace_id: str) -> dt.datetime | None:
    """Write a decision down; its time, or None when there was one already. Needs the grants of finance_api.

    Raises Refused (no reason, or one that is not plain text; the object is archived, and its lock stands), Unavailable.
    """
    reason = checked_reason(reason)
    checked_words("name of the object", object_key)
    with (
        session(dsn, application_name="finance archive") as connection,
        connection.transaction(),
        connection.cursor() as cursor,
    ):
        if cursor.execute(STORED, {"key": object_key}).fetchone() == (True,):
            raise Refused(f"{object_key} is archived: its lock stands", remedy="nothing has to be done")
        row = cursor.execute(INSERT, (object_key, reason, actor_id, trace_id)).fetchone()
        return None if row is None else row[0]
