"""Ranges of the audit chain that leave for the archive, and the objects that hold them.

Guarantees: a range is closed once, right behind the one before it, and only over published events; an object's row and
its audit intent are one transaction; whoever comes second writes nothing and learns that. Needs the grants of
finance_archiver. Does not: read or store the objects.
"""

from __future__ import annotations

from dataclasses import asdict, astuple
from typing import Any, Final

import psycopg

from ledger_core.archive.pinned_object import PINNED_COLUMNS
from ledger_core.audit.events import AuditEvent
from ledger_core.audit.export import EXPORTED_CHAIN, AuditExport, ExportRange
from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.notary_store import EVENT_COLUMNS, event_from_row
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.session import translated

COLUMNS: Final = ", ".join(("export_no", "head_hash", *PINNED_COLUMNS))
# Ranges are exported in order, the oldest first, so those without an object are all beyond the newest with one.
OPEN: Final = """
SELECT export_no, first_seq, last_seq FROM audit_export_ranges
 WHERE export_no > (SELECT coalesce(max(export_no), 0) FROM audit_exports) ORDER BY export_no LIMIT 1"""

# A range closes when it is full, or when nothing was published for a while. The events of such exports themselves close
# none: each would make the next.
DUE: Final = f"""
WITH waiting AS (
    SELECT c.published_seq, coalesce(r.export_no, 0) AS export_no, coalesce(r.last_seq, 0) AS last_seq
      FROM notary_cursor c
      LEFT JOIN (SELECT export_no, last_seq FROM audit_export_ranges ORDER BY export_no DESC LIMIT 1) r ON true
)
SELECT export_no + 1, last_seq + 1, least(published_seq, last_seq + %(events_max)s) FROM waiting
 WHERE published_seq - last_seq >= %(events_max)s
    OR (published_seq > last_seq
        AND (SELECT created_at FROM audit_events WHERE seq = published_seq)
            <= clock_timestamp() - make_interval(secs => %(idle_seconds)s)
        AND EXISTS (SELECT 1 FROM audit_events WHERE seq > last_seq AND seq <= published_seq
                       AND NOT (event_type = 'audit_export.completed' AND payload->>'chain' = '{EXPORTED_CHAIN}')))"""

CLOSE: Final = """
INSERT INTO audit_export_ranges (export_no, first_seq, last_seq)
SELECT %(export_no)s, %(first_seq)s, %(last_seq)s
 WHERE %(last_seq)s <= (SELECT published_seq FROM notary_cursor)
   AND %(first_seq)s = (SELECT coalesce(max(last_seq), 0) + 1 FROM audit_export_ranges)
ON CONFLICT DO NOTHING"""

EVENTS: Final = f"SELECT {EVENT_COLUMNS} FROM audit_events WHERE seq BETWEEN %s AND %s ORDER BY seq"

INSERT: Final = (
    f"INSERT INTO audit_exports ({COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)


class PostgresAuditExportStore:
    """On a connection in autocommit mode; every method raises Unavailable("postgres")."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @translated()
    def open_range(self) -> ExportRange | None:
        """The oldest range without an object."""
        return self._open()

    @translated()
    def due(self, events_max: int, idle_seconds: float) -> ExportRange | None:
        """The range to be closed next, if it is time; nothing is written."""
        row = self._connection.execute(DUE, {"events_max": events_max, "idle_seconds": idle_seconds}).fetchone()
        return None if row is None else ExportRange(*row)

    @translated()
    def close_range(self, due: ExportRange) -> ExportRange | None:
        """Close it, if it still follows the one before and all of it is published; the oldest without an object."""
        self._connection.execute(CLOSE, asdict(due))  # the commit point of closing
        return self._open()

    def _open(self) -> ExportRange | None:
        row = self._connection.execute(OPEN).fetchone()
        return None if row is None else ExportRange(*row)

    @translated()
    def events(self, first_seq: int, last_seq: int) -> list[AuditEvent]:
        """The events of a range, in order."""
        return [event_from_row(row) for row in self._connection.execute(EVENTS, (first_seq, last_seq))]

    @translated()
    def record(self, export: AuditExport, intent: AuditIntent) -> bool:
        """Write an object's row and its intent down; the COMMIT exports the range. False: it is there already."""
        values = (export.export_no, export.head_hash, *astuple(export.pinned))
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(INSERT, values)
            if cursor.rowcount == 0:
                return False
            append_intent(cursor, intent)
        return True
