"""The poster's door to Postgres: reading a shard's head, and committing one batch's plan on top of it.

Guarantees: `commit` writes the whole plan or nothing, and only on the very head it was made from (compare-and-swap), so
that a zombie or a second process writes nothing (Fenced). A commit whose answer was lost surfaces as Unavailable; the
caller then reads the head again, which says what happened.
Does not: decide anything. Verdicts and hashes come in the plan.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import Cursor, errors
from psycopg.rows import TupleRow

from ledger_core.errors import Corrupt
from ledger_core.journal import decode_entry
from ledger_core.ports import AuditIntent, Record
from ledger_core.postgres.account_numbers import AccountNumbers, array_literal
from ledger_core.postgres.audit_outbox import append_intent
from ledger_core.postgres.connection import connect
from ledger_core.postgres.copy_binary import entry_rows, line_rows, pii_rows
from ledger_core.postgres.session import translated
from ledger_core.posting import Known, Plan, ShardHead, Verdict
from ledger_core.posting_port import BatchFailed, EventIdTaken, Fenced, Halted, Unrelayed

HEAD_COLUMNS = (
    "shard, topic, first_offset, next_offset, seq, head_hash, accounts, posted, duplicates, rejected, relayed_offset"
)
# Taken shared by every batch, and alone by one that gives a rejection as an event id's first verdict: otherwise two
# shards could give one event id two verdicts without seeing each other's (ARCHITECTURE, decisions).
FIRST_VERDICT_LOCK = 0x46494E01


class PosterStore:
    """One connection, used by one thread."""

    def __init__(self, dsn: str) -> None:
        self._connection = connect(dsn, application_name="finance-poster", idle_in_transaction_timeout_ms=2000)
        self._numbers: dict[int, AccountNumbers] = {}

    def close(self) -> None:
        self._connection.close()

    @translated()
    def open_shard(self, shard: int, topic: str) -> ShardHead:
        """The shard's head; a shard seen for the first time begins at offset 0."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            self._numbers[shard] = AccountNumbers(shard)
            cursor.execute(
                "INSERT INTO shards (shard, topic, first_offset, next_offset, relayed_offset) VALUES (%s, %s, 0, 0, 0) "
                "ON CONFLICT DO NOTHING",
                (shard, topic),
            )
            head = _read_head(cursor, shard)
        if head.topic != topic:
            raise Corrupt(f"shard {shard} grew from topic {head.topic}, not from {topic}")
        return head

    @translated()
    def newest_source(self, shard: int) -> tuple[int, int] | None:
        """Offset and append time (ms) of the record of the shard's newest entry; None while it has none."""
        row = self._connection.execute(
            "SELECT source_offset, (extract(epoch FROM recorded_at) * 1000)::bigint FROM entries "
            "WHERE shard = %s ORDER BY seq DESC LIMIT 1",
            (shard,),
        ).fetchone()
        return None if row is None else (row[0], row[1])

    @translated()
    def is_halted(self) -> bool:
        with self._connection.cursor() as cursor:
            return _is_halted(cursor)

    @translated()
    def halt(self, reason: str, intent: AuditIntent) -> None:
        """Set the halt flag, once, with its audit intent."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(
                "UPDATE control SET halted = true, reason = %s, actor_id = %s, changed_at = clock_timestamp() "
                "WHERE NOT halted",
                (reason, intent.actor_id),
            )
            if cursor.rowcount:
                append_intent(cursor, intent)

    @translated()
    def commit(
        self,
        head: ShardHead,
        event_ids: Sequence[str],
        rejects_first: bool,
        make_plan: Callable[[dict[str, Known]], Plan],
        relayed_offset: int,
    ) -> Plan:
        """Look up, plan, write, commit: the one transaction of a batch.

        `rejects_first`: the batch holds a rejection with an event id, known before anything is looked up.
        `relayed_offset`: everything below was acknowledged downstream; it moves along with the head.
        Returns the plan as written: its `after` has the accounts opened and `relayed_offset`. Raises Halted, Fenced,
        EventIdTaken, BatchFailed (nothing written), Unavailable (ask the head what happened), Corrupt.
        """
        numbers = self._numbers[head.shard]
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                row = cursor.execute(
                    "SELECT next_offset, seq, "
                    f"pg_advisory_xact_lock{'' if rejects_first else '_shared'}({FIRST_VERDICT_LOCK}) "
                    "FROM shards WHERE shard = %s FOR UPDATE",
                    (head.shard,),
                ).fetchone()
                if row is None or (row[0], row[1]) != (head.next_offset, head.seq):
                    raise Fenced(
                        f"shard {head.shard} moved to {row and row[:2]}, expected {head.next_offset, head.seq}"
                    )
                # Asked after the locks were waited for: a snapshot from before could miss a halt of meanwhile (G10).
                if _is_halted(cursor):
                    raise Halted("posting is halted")
                plan = make_plan(_look_up(cursor, event_ids))
                plan = self._write(cursor, plan, numbers, relayed_offset)
        except errors.UniqueViolation as error:
            numbers.forget_uncommitted()
            if error.diag.constraint_name in ("entries_event_id_key", "verdicts_first_verdict"):
                raise EventIdTaken(str(error)) from error
            raise BatchFailed(str(error)) from error
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            # Only what the rows themselves cause: a missing privilege, an aborted or timed-out transaction is no
            # record's fault, and must not end as one.
            numbers.forget_uncommitted()
            raise BatchFailed(str(error)) from error
        except BaseException:
            numbers.forget_uncommitted()
            raise
        numbers.committed()
        return plan

    def _write(self, cursor: Cursor[TupleRow], plan: Plan, numbers: AccountNumbers, relayed_offset: int) -> Plan:
        before, shard = plan.before, plan.before.shard
        accounts = before.accounts
        if plan.posted:
            accounts = numbers.number(cursor, plan.posted, before.accounts)
            lines, balances = line_rows(shard, plan.posted, numbers.by_account)
            _copy(cursor, "lines", lines)
            _copy(cursor, "entries", entry_rows(shard, plan.posted))
            pii = pii_rows(shard, plan.posted)
            if pii is not None:
                _copy(cursor, "pii", pii)
            numbers.add_balances(cursor, balances)
        if plan.verdicts:
            _insert_verdicts(cursor, shard, plan.verdicts)
        after = msgspec.structs.replace(plan.after, accounts=accounts, relayed_offset=relayed_offset)
        cursor.execute(
            "UPDATE shards SET next_offset = %s, seq = %s, head_hash = %s, accounts = %s, posted = %s, "
            "duplicates = %s, rejected = %s, relayed_offset = %s, changed_at = clock_timestamp() "
            "WHERE shard = %s AND next_offset = %s",
            (
                *(after.next_offset, after.seq, after.head_hash, after.accounts, after.posted, after.duplicates),
                *(after.rejected, after.relayed_offset, shard, before.next_offset),
            ),
        )
        if cursor.rowcount != 1:
            raise Fenced(f"shard {shard} moved under its row lock")
        return Plan(before, after, plan.posted, plan.verdicts)

    @translated()
    def note_relayed(self, shard: int, relayed_offset: int) -> None:
        """Everything below `relayed_offset` was acknowledged downstream (when no batch comes to carry it along)."""
        self._connection.execute(
            "UPDATE shards SET relayed_offset = %s WHERE shard = %s AND relayed_offset < %s",
            (relayed_offset, shard, relayed_offset),
        )

    @translated()
    def unrelayed(self, head: ShardHead) -> list[Unrelayed]:
        """What the shard committed and may not have published, in order of offset: at most a batch or two."""
        rows: list[Unrelayed] = []
        with self._connection.transaction(), self._connection.cursor() as cursor:
            # The seq bound keeps this on the primary key: no more entries than offsets can be waiting.
            cursor.execute(
                "SELECT seq, source_offset, event_id::text, entry_hash, body FROM entries "
                "WHERE shard = %s AND seq > %s AND source_offset >= %s ORDER BY seq",
                (head.shard, head.seq - (head.next_offset - head.relayed_offset), head.relayed_offset),
            )
            rows += [
                Unrelayed(offset, (seq, event_id, entry_hash, body), None)
                for seq, offset, event_id, entry_hash, body in cursor
            ]
            cursor.execute(
                "SELECT v.source_offset, v.verdict, v.reason, v.event_id::text, v.content_hash, v.first_verdict, "
                "v.detail, v.line, d.topic, d.timestamp_ms, d.key, d.value, d.headers, e.seq, e.body FROM verdicts v "
                "LEFT JOIN dead_letters d USING (shard, source_offset) "
                "LEFT JOIN entries e ON v.verdict = 'duplicate' AND e.event_id = v.event_id "
                "WHERE v.shard = %s AND v.source_offset >= %s ORDER BY v.source_offset",
                (head.shard, head.relayed_offset),
            )
            rows += [Unrelayed(row[0], None, _verdict_from_row(head.shard, row)) for row in cursor]
        return sorted(rows, key=lambda item: item.offset)


def _verdict_from_row(shard: int, row: tuple[Any, ...]) -> Verdict:
    (
        offset,
        kind,
        reason,
        event_id,
        content_hash,
        first_verdict,
        detail,
        line,
        topic,
        timestamp_ms,
        key,
        value,
        headers,
        seq,
        body,
    ) = row
    record = None
    if topic is not None:
        record = Record(topic, shard, offset, timestamp_ms, key, value, headers_from_json(headers))
    elif body is not None:  # of a duplicate only the key is told again: the settlement id of the entry it repeats
        entry = decode_entry(body)
        record = Record(entry.source.topic, shard, offset, 0, entry.settlement_id.encode(), None)
    return Verdict(offset, kind, reason, event_id, content_hash, first_verdict, detail, line, record, seq or 0)


def _read_head(cursor: Cursor[TupleRow], shard: int) -> ShardHead:
    row = cursor.execute(f"SELECT {HEAD_COLUMNS} FROM shards WHERE shard = %s", (shard,)).fetchone()
    if row is None:
        raise Corrupt(f"shard {shard} has no row in shards")
    return ShardHead(**dict(zip((name.strip() for name in HEAD_COLUMNS.split(",")), row, strict=True)))


def _is_halted(cursor: Cursor[TupleRow]) -> bool:
    row = cursor.execute("SELECT halted FROM control").fetchone()
    return bool(row and row[0])


def _look_up(cursor: Cursor[TupleRow], event_ids: Sequence[str]) -> dict[str, Known]:
    """The first verdict of each event id that has one."""
    if not event_ids:
        return {}
    known = {}
    ids = array_literal(event_ids)
    rows = cursor.execute(
        "SELECT event_id::text, shard, seq, body FROM entries WHERE event_id = ANY(%s::text::uuid[])", (ids,)
    )
    for event_id, shard, seq, body in rows:
        known[event_id] = Known(shard, seq, body)
    rows = cursor.execute(
        "SELECT event_id::text, shard, content_hash, reason FROM verdicts "
        "WHERE first_verdict AND event_id = ANY(%s::text::uuid[])",
        (ids,),
    )
    for event_id, shard, content_hash, reason in rows:
        known.setdefault(event_id, Known(shard, 0, None, content_hash, reason))
    return known


def _copy(cursor: Cursor[TupleRow], table: str, data: bytes) -> None:
    with cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
        copy.write(data)


def _insert_verdicts(cursor: Cursor[TupleRow], shard: int, verdicts: Sequence[Verdict]) -> None:
    cursor.executemany(
        "INSERT INTO verdicts (shard, source_offset, verdict, reason, event_id, content_hash, first_verdict, "
        "detail, line) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            (shard, v.offset, v.kind, v.reason, v.event_id, v.content_hash, v.first_verdict, v.detail, v.line)
            for v in verdicts
        ],
    )
    originals = [v.record for v in verdicts if v.kind == "rejected" and v.record is not None]
    if originals:
        cursor.executemany(
            "INSERT INTO dead_letters (shard, source_offset, topic, timestamp_ms, key, value, headers) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [(shard, r.offset, r.topic, r.timestamp_ms, r.key, r.value, headers_to_json(r)) for r in originals],
        )


def headers_to_json(record: Record) -> str:
    """Header values are bytes: base64 keeps them exactly."""
    return json.dumps(
        [[name, None if value is None else base64.b64encode(value).decode()] for name, value in record.headers]
    )


def headers_from_json(headers: list[list[str | None]]) -> tuple[tuple[str, bytes | None], ...]:
    """The inverse of `headers_to_json`, from the decoded JSON."""
    return tuple((str(name), None if value is None else base64.b64decode(value)) for name, value in headers)
