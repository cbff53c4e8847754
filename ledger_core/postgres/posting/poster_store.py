"""The poster's door to Postgres: reading a shard's head, and committing one batch's plan on top of it.

Guarantees: a `batch` block writes the whole plan or nothing, and only on the very head it was opened for
(compare-and-swap), so that a zombie or a second process writes nothing (Fenced). The end of the block is the COMMIT. A
COMMIT whose answer was lost is Unavailable; the caller then reads the head again, which says what happened.
Does not: decide anything. Verdicts and hashes come in the plan, which the caller makes inside the block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import Cursor, errors
from psycopg.rows import TupleRow

from ledger_core.books.entries import decode_entry
from ledger_core.errors import Corrupt
from ledger_core.ports import Record
from ledger_core.postgres.connection import connect
from ledger_core.postgres.posting import newest_record as remembered
from ledger_core.postgres.posting.account_numbers import CACHED_BYTES_MAX, AccountNumbers
from ledger_core.postgres.posting.control import is_halted
from ledger_core.postgres.posting.plan_writer import (
    headers_from_json,
    look_up,
    read_head,
    write_plan,
)
from ledger_core.postgres.posting.shard_halts import halt_shard, is_shard_halted, read_halts
from ledger_core.postgres.session import translated
from ledger_core.posting.newest_record import NewestRecord, newest_record
from ledger_core.posting.plans import Known, Plan, ShardHead, Verdict
from ledger_core.posting.store_port import (
    BatchFailed,
    EventIdTaken,
    Fenced,
    Halted,
    HaltKind,
    ShardHalt,
    Unrelayed,
    check_alone,
)

# What each offset weighs that `unrelayed` reads: the body of an entry, also of one that is only repeated, an original.
UNRELAYED_SIZES: Final = """
SELECT source_offset, octet_length(body) FROM entries WHERE shard = %s AND seq > %s AND seq <= %s
UNION ALL
SELECT v.source_offset, coalesce(octet_length(d.key), 0) + coalesce(octet_length(d.value), 0)
       + coalesce(octet_length(d.headers::text), 0) + coalesce(octet_length(e.body), 0)
  FROM verdicts v LEFT JOIN dead_letters d USING (shard, source_offset)
  LEFT JOIN entries e ON v.verdict = 'duplicate' AND e.event_id = v.event_id
 WHERE v.shard = %s AND v.source_offset >= %s AND v.source_offset < %s
 ORDER BY 1"""


class PosterStore:
    """One connection, used by one thread."""

    def __init__(self, dsn: str) -> None:
        self._connection = connect(dsn, application_name="finance-poster", idle_in_transaction_timeout_ms=2000)
        # Every statement here goes by key. A plan made while a table was small must not scan it when it is large.
        self._connection.execute("SET enable_seqscan = off")
        self._numbers: dict[int, AccountNumbers] = {}

    def close(self) -> None:
        self._connection.close()

    @translated()
    def open_shard(self, shard: int, topic: str) -> ShardHead:
        """The shard's head; a shard seen for the first time begins at offset 0. Raises Corrupt when the shard grew from
        another topic.
        """
        with self._connection.transaction(), self._connection.cursor() as cursor:
            self._numbers[shard] = AccountNumbers(shard)
            cursor.execute(
                "INSERT INTO shards (shard, topic, first_offset, next_offset, relayed_offset) VALUES (%s, %s, 0, 0, 0) "
                "ON CONFLICT DO NOTHING",
                (shard, topic),
            )
            head = read_head(cursor, shard)
        if head.topic != topic:
            raise Corrupt(f"shard {shard} grew from topic {head.topic}, not from {topic}")
        return head

    def newest_record(self, shard: int) -> NewestRecord | None:
        """The newest record that the shard has read, as far as it is known. Raises Unavailable, Refused."""
        return remembered.newest_record(self._connection, shard)

    @translated()
    def next_offsets(self) -> dict[int, int]:
        """The offset that each shard is to read next, whoever owns it."""
        return dict(self._connection.execute("SELECT shard, next_offset FROM shards").fetchall())

    @translated()
    def is_halted(self) -> bool:
        with self._connection.cursor() as cursor:
            return is_halted(cursor)

    @translated()
    def shard_halts(self, shards: Iterable[int]) -> dict[int, ShardHalt]:
        """The newest halt of each of these shards that had one."""
        return read_halts(self._connection, shards)

    @translated()
    def halt_shard(self, shard: int, kind: HaltKind, at_offset: int, detail: str) -> None:
        """Halt one shard, with its audit event; nothing when it is halted."""
        halt_shard(self._connection, shard, kind, at_offset, detail)

    @contextmanager
    def batch(self, head: ShardHead, *, alone: bool) -> Iterator[_BatchTransaction]:
        """The one transaction of a batch: opened on the very head, committed at the end of the block, rolled back by
        whatever the block raises.

        `alone`: no other shard's batch runs meanwhile; needed to give a rejection as an event id's first verdict, and
        refused without (docs/decisions, 007).
        Raises Halted, Fenced, EventIdTaken, FirstRejections, BatchFailed (nothing written), Unavailable (ask the head
        what happened), Corrupt, Refused.
        """
        numbers = self._numbers[head.shard]
        if sum(held.bytes for held in self._numbers.values()) > CACHED_BYTES_MAX:
            for held in self._numbers.values():  # of shards that went to another process, too
                held.forget()
        try:
            with translated(), _refusals(), self._connection.transaction(), self._connection.cursor() as cursor:
                _stand_on(cursor, head, alone=alone)
                yield _BatchTransaction(cursor, numbers, alone=alone)
        except BaseException:
            numbers.forget_uncommitted()
            raise
        numbers.committed()

    @translated()
    def note_relayed(self, shard: int, relayed_offset: int) -> None:
        """Everything below `relayed_offset` was acknowledged downstream (when no batch comes to carry it along)."""
        self._connection.execute(
            "UPDATE shards SET relayed_offset = %s WHERE shard = %s AND relayed_offset < %s",
            (relayed_offset, shard, relayed_offset),
        )

    @translated()
    def unrelayed_end(self, head: ShardHead, upto_offset: int, bytes_max: int) -> int:
        """How far from `relayed_offset` on, up to an offset, what `unrelayed` reads weighs `bytes_max`: one offset at
        least."""
        shard, first = head.shard, head.relayed_offset
        with self._connection.transaction(), self._connection.cursor() as cursor:
            before = self._seq_before(cursor, head)
            cursor.execute(UNRELAYED_SIZES, (shard, before, before + upto_offset - first, shard, first, upto_offset))
            size = 0
            for offset, adds in cursor:
                size += adds
                if size > bytes_max and offset > first:
                    return min(int(offset), upto_offset)
        return upto_offset

    @staticmethod
    def _seq_before(cursor: Cursor[TupleRow], head: ShardHead) -> int:
        """The newest entry below `relayed_offset`, by bisection over the primary key: offsets grow with seq. So it
        costs some twenty look-ups, however much waits (all of it after a rebuild whose journal was lost)."""
        low, high = max(0, head.seq - (head.next_offset - head.relayed_offset)), head.seq
        while low < high:
            middle = (low + high + 1) // 2
            cursor.execute("SELECT source_offset FROM entries WHERE shard = %s AND seq = %s", (head.shard, middle))
            row = cursor.fetchone()
            if row is not None and row[0] < head.relayed_offset:
                low = middle
            else:
                high = middle - 1
        return low

    @translated()
    def unrelayed(self, head: ShardHead, upto_offset: int) -> list[Unrelayed]:
        """What the shard committed from `relayed_offset` up to an offset and may not have published, in order."""
        rows: list[Unrelayed] = []
        shard, first = head.shard, head.relayed_offset
        with self._connection.transaction(), self._connection.cursor() as cursor:
            before = self._seq_before(cursor, head)
            cursor.execute(
                "SELECT seq, source_offset, event_id::text, entry_hash, body FROM entries "
                "WHERE shard = %s AND seq > %s AND seq <= %s AND source_offset < %s ORDER BY seq",
                (shard, before, before + upto_offset - first, upto_offset),
                binary=True,
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
                "WHERE v.shard = %s AND v.source_offset >= %s AND v.source_offset < %s ORDER BY v.source_offset",
                (shard, first, upto_offset),
            )
            rows += [Unrelayed(row[0], None, _verdict_from_row(shard, row)) for row in cursor]
        return sorted(rows, key=lambda item: item.offset)


class _BatchTransaction:
    """A `ledger_core.posting.store_port.BatchTransaction`."""

    def __init__(self, cursor: Cursor[TupleRow], numbers: AccountNumbers, *, alone: bool) -> None:
        self._cursor = cursor
        self._numbers = numbers
        self._alone = alone

    def look_up(self, compared: Sequence[str], named: Sequence[str]) -> dict[str, Known]:
        return look_up(self._cursor, compared, named)

    def write(self, plan: Plan, *, relayed_offset: int) -> Plan:
        check_alone(plan, alone=self._alone)
        return write_plan(self._cursor, plan, self._numbers, relayed_offset, newest_record(plan))


def _stand_on(cursor: Cursor[TupleRow], head: ShardHead, *, alone: bool) -> None:
    """Lock the shard's row, and raise Fenced unless it is that head, Halted when posting is halted."""
    # Shared by every batch before it looks up, alone by one that gives a rejection as an event id's first verdict:
    # otherwise two shards could give one event id two verdicts without seeing each other's (docs/decisions, 007).
    row = cursor.execute(
        "SELECT next_offset, seq, lock_first_verdicts(%s) FROM shards WHERE shard = %s FOR UPDATE",
        (alone, head.shard),
    ).fetchone()
    if row is None or (row[0], row[1]) != (head.next_offset, head.seq):
        raise Fenced(f"shard {head.shard} moved to {row and row[:2]}, expected {head.next_offset, head.seq}")
    # Asked after the locks were waited for: a snapshot from before could miss a halt that came in between (G10).
    if is_halted(cursor) or is_shard_halted(cursor, head.shard):
        raise Halted("posting is halted")


@contextmanager
def _refusals() -> Iterator[None]:
    """What the database refuses in a batch, in the words of the port."""
    try:
        yield
    except errors.UniqueViolation as error:
        if error.diag.constraint_name in ("entries_event_id_key", "verdicts_first_verdict"):
            raise EventIdTaken(str(error)) from error
        raise BatchFailed(str(error), taken=True) from error
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        # Only what the rows themselves cause: a missing privilege, an aborted or timed-out transaction is not the
        # record's fault, and must not end as a reject .
        raise BatchFailed(str(error)) from error


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
    elif body is not None:  # of a duplicate only the key is published again: the settlement id of the entry it repeats
        entry = decode_entry(body)
        record = Record(entry.source.topic, shard, offset, 0, entry.settlement_id.encode(), None)
    return Verdict(offset, kind, reason, event_id, content_hash, first_verdict, detail, line, record, seq or 0)
