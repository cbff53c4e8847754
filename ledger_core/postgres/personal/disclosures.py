"""Personal data that leave for an auditor: the decision, on record first, and then what it lets anybody read.

Guarantees: a decision leaves its audit event (`personal.disclosed`: window, names of pairs, reason) itself, by a
trigger, and stands for ever. What is read afterwards is of entries recorded within its window, of the pairs that it
names, and of no event that was erased; the database sees to it, for a day (`disclosed_personal`). The salt of an event
never leaves: each pair that is shown has one of its own.
Does not: write a bundle. Needs the grants of finance_api.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger_core.audit.admission import checked_reason
from ledger_core.bundle.openings import ShownPair
from ledger_core.postgres.session import session

NAME: Final = "finance export auditor"
INSERT: Final = """
INSERT INTO personal_disclosures (from_ts, to_ts, fields, reason, actor_id, trace_id)
VALUES (%(from_ts)s, %(to_ts)s, %(fields)s, %(reason)s, %(actor_id)s, %(trace_id)s) RETURNING disclosure_no"""
READ: Final = """
SELECT event_id::text, commitment, name, value, pair_salt FROM disclosed_personal(%s, %s::uuid[])"""


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What an operator decided to show."""

    from_ts: dt.datetime  # first moment of recorded_at, inclusive
    to_ts: dt.datetime  # end of it, exclusive
    fields: tuple[str, ...]  # names of pairs; none: all of them
    reason: str  # for the audit chain; names nobody


def disclose(dsn: str, asked: Disclosure, *, actor_id: str, trace_id: str) -> int:
    """Put the decision on record; its number. Raises Refused, Unavailable."""
    values = {
        "from_ts": asked.from_ts,
        "to_ts": asked.to_ts,
        "fields": list(asked.fields),
        "reason": checked_reason(asked.reason),
        "actor_id": actor_id,
        "trace_id": trace_id,
    }
    with session(dsn, application_name=NAME) as connection:
        row = connection.execute(INSERT, values).fetchone()
    assert row is not None  # noqa: S101  # an INSERT without a conflict returns its row
    return int(row[0])


def shown_pairs(dsn: str, disclosure_no: int, event_ids: Sequence[str]) -> Mapping[str, list[ShownPair]]:
    """Event id -> its pairs in order of name, of those events whose data are kept. Raises Refused, Unavailable."""
    found: dict[str, list[ShownPair]] = {}
    with session(dsn, application_name=NAME, read_only=True) as connection:
        rows = connection.execute(READ, (disclosure_no, list(event_ids)), binary=True)
        for event_id, commitment, name, value, salt in rows:
            found.setdefault(event_id, []).append(ShownPair(commitment, name, value, salt))
    return found
