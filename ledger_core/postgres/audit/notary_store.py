"""The notary's place in Postgres: one writer, an outbox that empties as the chain grows, a cursor of what is published.

Guarantees: the session that holds the notary's job is the only one that extends the chain, and the database says so a
second time (unique seq, hash and created_at; every outbox row taken exactly once in the transaction that chains it).
`extend` is the commit point. Does not: build, sign or check events; `consumers.audit.notary` does, before and after.
Everything runs on the one connection that holds the job: when it goes, so does the right to write.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import psycopg
from psycopg import errors

from ledger_core.audit.events import AuditEvent
from ledger_core.errors import Unavailable
from ledger_core.ports import AuditIntent, PendingIntent
from ledger_core.postgres.connection import IDLE_IN_TRANSACTION_TIMEOUT_MS, connect
from ledger_core.postgres.holders import session_words
from ledger_core.postgres.jobs import holder, take
from ledger_core.postgres.session import translated
from ledger_core.postgres.stalled import StandingStill

APPLICATION_NAME: Final = "finance-notary"
POLL_SECONDS: Final = 0.25  # between two attempts to get the job
# A frozen notary would keep the job, and its successor out, for as long as it is frozen. Longer than a working one
# ever sits between two statements: a barrier of 5 s, or signing for 2 s and one time-out of the signer.
IDLE_SESSION_TIMEOUT_MS: Final = 20_000
BACKLOG_COUNT_MAX: Final = 10_000  # counting further would cost more than the figure is worth

EVENT_COLUMNS = "id, seq, actor_id, event_type, payload, prev_hash, hash, signature, signer_kid, created_at"
_HEAD = f"SELECT {EVENT_COLUMNS} FROM audit_events ORDER BY seq DESC LIMIT 1"
_PENDING = """
SELECT outbox_id, left(event_type, 300), left(actor_id, 300), left(trace_id, 300),
       CASE WHEN octet_length(payload::text) <= %(bytes_max)s THEN payload::text END,
       CASE WHEN octet_length(payload::text) > %(bytes_max)s
            THEN encode(sha256(convert_to(payload::text, 'UTF8')), 'hex') END,
       greatest(least(created_at, clock_timestamp()), timestamptz '1970-01-01 00:00:00Z')
  FROM audit_outbox ORDER BY outbox_id LIMIT %(intents_max)s
"""
READ_BYTES_MAX: Final = 98_304  # of a payload as the database spells it: what its check admits
INSERT_EVENT = f"INSERT INTO audit_events ({EVENT_COLUMNS}) VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s, %s, %s, %s)"
_TAKE = "SELECT take_intents(%s)"
_REFUSE = "SELECT refuse_intents(%s, %s)"
_UNPUBLISHED = f"""
SELECT {EVENT_COLUMNS} FROM audit_events WHERE seq > (SELECT published_seq FROM notary_cursor) ORDER BY seq LIMIT %s
"""
_PUBLISHED = "UPDATE notary_cursor SET published_seq = %s WHERE published_seq < %s"
_BACKLOG = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM audit_outbox LIMIT %s) AS waiting)
         + coalesce((SELECT max(seq) FROM audit_events), 0) - (SELECT published_seq FROM notary_cursor),
       coalesce(extract(epoch FROM clock_timestamp() - least(
         (SELECT greatest(created_at, '1970-01-01') FROM audit_outbox ORDER BY outbox_id LIMIT 1), clock_timestamp(),
         (SELECT created_at FROM audit_events WHERE seq = (SELECT published_seq + 1 FROM notary_cursor)))), 0)::float8
"""

log = logging.getLogger("postgres.notary")


class PostgresAuditStore:
    """`audit.notary.AuditStore` on one connection. Every method may raise Unavailable("postgres") and Refused."""

    def __init__(self, dsn: str) -> None:
        self._connection: psycopg.Connection[Any] = connect(
            dsn, application_name=APPLICATION_NAME, idle_session_timeout_ms=IDLE_SESSION_TIMEOUT_MS
        )
        self._told: int | None = None  # the backend that was logged as the one with the job
        # Who has the job, and is frozen in the middle of a statement or of a transaction, is ended.
        self._still = StandingStill(APPLICATION_NAME, IDLE_IN_TRANSACTION_TIMEOUT_MS)

    @translated()
    def acquire(self, wait_seconds: float) -> bool:
        """Become the only writer; False when another session still is after `wait_seconds`. Held until `close`."""
        for _ in range(int(wait_seconds / POLL_SECONDS)):
            pid = holder(self._connection, "notary")  # whoever waits only reads
            if pid is None and take(self._connection, "notary"):
                return True
            self._tell(pid)
            self._still.check(self._connection, [] if pid is None else [pid])
            self._connection.execute("SELECT pg_sleep(%s)", [POLL_SECONDS])
        return take(self._connection, "notary")

    def _tell(self, pid: int | None) -> None:
        """Log who has the job, once for each: a notary that waits in silence looks like one that hangs."""
        if pid is not None and pid != self._told:
            log.info("the notary's job is held by %s", session_words(self._connection, pid))
            self._told = pid

    @translated()
    def head(self) -> AuditEvent | None:
        """The newest event of the chain, None at genesis."""
        row = self._connection.execute(_HEAD).fetchone()
        return None if row is None else event_from_row(row)

    @translated()
    def hash_at(self, seq: int) -> str | None:
        """The hash of the event at one place of the chain, lower-case hex; None beyond its end."""
        row = self._connection.execute("SELECT hash FROM audit_events WHERE seq = %s", [seq]).fetchone()
        return None if row is None else str(row[0])

    @translated()
    def pending(self, intents_max: int) -> list[PendingIntent]:
        """The oldest intents of the outbox, in order."""
        values = {"bytes_max": READ_BYTES_MAX, "intents_max": intents_max}
        return [_pending(*row) for row in self._connection.execute(_PENDING, values).fetchall()]

    @translated()
    def extend(
        self, events: Sequence[AuditEvent], outbox_ids: Sequence[int], refused: Mapping[int, str] | None = None
    ) -> None:
        """Put signed events on the chain and take their intents from the outbox, both or neither. Those that are
        `refused`, by id and with the reason, are kept in a table of their own.

        Raises Unavailable when someone else extended the chain or took an intent meanwhile: start again from the head.
        """
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                cursor.executemany(INSERT_EVENT, [event.to_row() for event in events])
                apart = refused or {}
                (taken,) = cursor.execute(_TAKE, [[it for it in outbox_ids if it not in apart]]).fetchone() or (0,)
                if apart:
                    (kept,) = cursor.execute(_REFUSE, [list(apart), list(apart.values())]).fetchone() or (0,)
                    taken += kept
                if taken != len(outbox_ids):
                    raise _overtaken(f"{len(outbox_ids) - taken} intents were taken by another writer")
        except errors.UniqueViolation as error:
            raise _overtaken(f"another writer extended the chain ({error.diag.constraint_name})") from error

    @translated()
    def unpublished(self, events_max: int) -> list[AuditEvent]:
        """The oldest events beyond `published_seq`, in order."""
        return [event_from_row(row) for row in self._connection.execute(_UNPUBLISHED, [events_max]).fetchall()]

    @translated()
    def set_published(self, seq: int) -> None:
        """Everything up to `seq` was acknowledged by the brokers. Only ever moves forward."""
        self._connection.execute(_PUBLISHED, [seq, seq])

    @translated()
    def backlog(self) -> tuple[int, float]:
        """How many intents and unpublished events wait (counted up to BACKLOG_COUNT_MAX intents), and the age of the
        oldest in seconds."""
        row = self._connection.execute(_BACKLOG, [BACKLOG_COUNT_MAX]).fetchone()
        assert row is not None  # noqa: S101  a SELECT without FROM gives one row
        return int(row[0]), max(0.0, float(row[1]))

    def close(self) -> None:
        """Give the job back with the connection."""
        self._connection.close()


def _pending(
    outbox_id: int,
    event_type: str,
    actor_id: str,
    trace_id: str,
    text: str | None,
    digest: str | None,
    created_at: dt.datetime,
) -> PendingIntent:
    payload: object = None
    fault = None
    if text is None:
        fault = f"payload of more than {READ_BYTES_MAX} bytes"
    else:
        digest = hashlib.sha256(text.encode()).hexdigest()
        try:
            payload = orjson.loads(text)
        except ValueError as error:
            fault = f"the payload cannot be read: {error}"
        else:
            fault = None if isinstance(payload, dict) else "the payload is not an object"
    intent = AuditIntent(event_type, actor_id, payload if isinstance(payload, dict) else {}, trace_id)
    return PendingIntent(outbox_id, intent, created_at, digest or "", fault)


def event_from_row(row: tuple[Any, ...]) -> AuditEvent:
    """One row of `audit_events` with every column, in the order of the table."""
    event_id, seq, actor_id, event_type, payload, prev_hash, digest, signature, signer_kid, created_at = row
    return AuditEvent(
        id=event_id,
        seq=seq,
        actor_id=actor_id,
        event_type=event_type,
        payload=payload,
        prev_hash=prev_hash,
        hash=digest,
        signature=signature,
        signer_kid=signer_kid,
        created_at=created_at,
    )


def _overtaken(detail: str) -> Unavailable:
    return Unavailable("postgres", f"{detail}; nothing was written, starting again from the head")
