"""The halt flag: one row that every poster reads within a second (G10), and who set it.

Guarantees: the flag and its audit intent change in one transaction, or neither does; setting what is set already
changes nothing and leaves no intent. Needs the role finance_api (or finance_poster).
Does not: stop a process. Consuming pauses where it is, nothing is lost, and `resume` goes on from there.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from dataclasses import dataclass

from ledger_core.errors import Refused
from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.session import Session, session

REASON_CHARS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Control:
    """The flag as it stands. `reason` and `actor_id` are those of the last change; None when it never changed."""

    halted: bool  # whether posting is stopped
    reason: str | None
    actor_id: str | None
    changed_at: dt.datetime  # UTC; the database's clock


def read_control(connection: Session) -> Control:
    """The flag as of now. Raises Refused on a database without the row."""
    row = connection.execute("SELECT halted, reason, actor_id, changed_at FROM control").fetchone()
    if row is None:
        raise Refused("the table control has no row", remedy="run `finance migrate` on a database of this service")
    return Control(*row)


def halt(dsn: str, *, reason: str, actor_id: str, trace_id: str) -> bool:
    """Stop all posting. True when the flag changed, False when posting was halted already (its reason stays).

    Raises Refused (no reason, or one that is not plain text), Unavailable.
    """
    return _set(dsn, halted=True, reason=checked_reason(reason), actor_id=actor_id, trace_id=trace_id)


def resume(dsn: str, *, reason: str, actor_id: str, trace_id: str) -> bool:
    """Let posting go on. True when the flag changed, False when posting was not halted. Raises as `halt`."""
    return _set(dsn, halted=False, reason=checked_reason(reason), actor_id=actor_id, trace_id=trace_id)


def _set(dsn: str, *, halted: bool, reason: str, actor_id: str, trace_id: str) -> bool:
    with session(dsn, application_name="finance control") as connection:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(
                "UPDATE control SET halted = %(halted)s, reason = %(reason)s, actor_id = %(actor)s, "
                "changed_at = clock_timestamp() WHERE halted <> %(halted)s",
                {"halted": halted, "reason": reason, "actor": actor_id},
            )
            changed = cursor.rowcount == 1
            if changed:
                event_type = "ledger.halted" if halted else "ledger.resumed"
                append_intent(cursor, AuditIntent(event_type, actor_id, {"reason": reason}, trace_id))
        return changed


def checked_reason(reason: str) -> str:
    """One line of plain text in NFC: it stands on the audit chain, and in logs. Raises Refused for anything else."""
    text = unicodedata.normalize("NFC", reason.strip())
    if not text or len(text) > REASON_CHARS_MAX or not text.isprintable():
        raise Refused(
            "the reason is not a plain line of text",
            remedy=f"say in 1 to {REASON_CHARS_MAX} printable characters why, for whoever reads the audit chain",
        )
    return text
