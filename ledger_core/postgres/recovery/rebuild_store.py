"""Rebuilding shards in Postgres from verified ranges of the archive.

Guarantees: one range is one transaction; COMMIT is the commit point. What is there already is compared, never written
over; a head that is not a prefix of the range is Refused and nothing of it stays. Two rebuilds at once are the same as
one: each locks the shard and plans from the head it finds.
Does not: verify the range (`ledger_core.verify.archive_walk` did) or read the archive. Needs the owner: no role of the
service may write into the tables of all others.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Cursor, errors

from ledger_core.errors import Corrupt
from ledger_core.postgres.connection import connect
from ledger_core.postgres.posting.account_numbers import AccountNumbers
from ledger_core.postgres.posting.plan_writer import look_up, read_head, write_plan
from ledger_core.postgres.session import translated
from ledger_core.posting.plans import ShardHead
from ledger_core.proving.checkpoint import same_text
from ledger_core.proving.range_proof import same_proof
from ledger_core.recovery.archived_plan import event_ids_to_look_up, not_a_prefix, plan_of
from ledger_core.recovery.archived_rows import ARCHIVE_COLUMNS, RANGE_COLUMNS, ArchivedRows
from ledger_core.recovery.published import Published
from ledger_core.verify.archive_walk import VerifiedRange

IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 120_000  # between two statements: packing a large range

VERDICT_LINES: Final = """
SELECT line FROM verdicts WHERE shard = %s AND source_offset >= %s AND source_offset < %s ORDER BY source_offset"""


@dataclass(frozen=True, slots=True)
class _Table:
    """`key` and `compared` count columns from the left: what identifies a row, and what must be equal in one that is
    there. `stamp` is a column with a moment that the archive knows only nearly, or not at all."""

    name: str
    columns: tuple[str, ...]
    key: int
    compared: int
    stamp: str | None


RANGES: Final = _Table("ranges", RANGE_COLUMNS, 2, 12, "closed_at")
PROOFS: Final = _Table("proofs", ("proof_id", "shard", "range_no", "proof"), 1, 4, "signed_at")
CHECKPOINTS: Final = _Table("checkpoints", ("shard", "next_offset", "tree_size", "note"), 2, 4, "signed_at")
OBJECTS: Final = _Table("archive_objects", ARCHIVE_COLUMNS, 2, 10, "stored_at")
MANIFESTS: Final = _Table(
    "manifests", ("shard", "manifest_no", "payload", "hash", "manifest", "object_key", "version_id"), 2, 7, None
)

# A prover that closed a lost range again, with other cosigners than before, published the same statement. Both stand.
SAME: Final[Mapping[str, Callable[[bytes, bytes], bool]]] = {"proof": same_proof, "note": same_text}


class RebuildStore:
    """One connection, used by one thread."""

    def __init__(self, dsn: str) -> None:
        self._connection = connect(
            dsn, application_name="finance rebuild", idle_in_transaction_timeout_ms=IDLE_IN_TRANSACTION_TIMEOUT_MS
        )
        # A crash of the server may take the newest ranges along, in order, and the next run writes them again: waiting
        # for the disk at each range buys nothing. `flush` waits once.
        self._connection.execute("SET synchronous_commit = off")
        self._numbers: dict[int, AccountNumbers] = {}

    def close(self) -> None:
        self._connection.close()

    @translated()
    def write(self, verified: VerifiedRange, rows: ArchivedRows, published: Published) -> ShardHead:
        """Write one range, or what of it is missing; the COMMIT puts it back. The shard's head afterwards.

        Raises Refused, Corrupt (nothing of the range written), Unavailable (perhaps written: the next run finds out).
        """
        shard = verified.shard
        numbers = self._numbers.setdefault(shard, AccountNumbers(shard))
        try:
            with self._connection.transaction(), self._connection.cursor() as cursor:
                head = self._write_entries(cursor, verified, published, numbers)
                self._write_artefacts(cursor, rows)
        except errors.UniqueViolation as error:
            numbers.forget_uncommitted()
            detail = (error.diag.message_detail or str(error)).strip()
            raise Corrupt(
                f"shard {shard}, archive range {verified.range_no}: a row of it is stored elsewhere already: {detail}"
            ) from error
        except (KeyError, ValueError) as error:  # a currency or an event id that no row can hold
            numbers.forget_uncommitted()
            raise Corrupt(f"shard {shard}, archive range {verified.range_no}: Postgres cannot store {error}") from error
        except BaseException:
            numbers.forget_uncommitted()
            raise
        numbers.committed()
        return head

    @translated()
    def flush(self) -> None:
        """Return when everything written so far is on the server's disk."""
        with self._connection.transaction():
            self._connection.execute("SET LOCAL synchronous_commit = on")
            self._connection.execute("SELECT pg_current_xact_id()")

    def _write_entries(
        self, cursor: Cursor[Any], verified: VerifiedRange, published: Published, numbers: AccountNumbers
    ) -> ShardHead:
        source, shard = verified.proof.shards[0].source, verified.shard
        cursor.execute(
            "INSERT INTO shards (shard, topic, first_offset, next_offset, relayed_offset) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT DO NOTHING",
            (shard, source.topic, *[int(source.first_offset)] * 3),
        )
        event_ids, may_be_first = event_ids_to_look_up(verified)
        cursor.execute(
            "SELECT lock_first_verdicts(%s) FROM shards WHERE shard = %s FOR UPDATE",
            (may_be_first, shard),
        )
        head = read_head(cursor, shard)
        plan = plan_of(head, verified, look_up(cursor, (), event_ids))
        self._compare_held(cursor, head, verified)
        if plan.after.next_offset == head.next_offset:
            return head
        relayed = published.relayed_offset(head, verified)
        return write_plan(cursor, plan, numbers, relayed, newest=None).after  # the archive has entries, not records

    def _compare_held(self, cursor: Cursor[Any], head: ShardHead, verified: VerifiedRange) -> None:
        """What the shard holds of the range already must be the range's."""
        part = verified.proof.shards[0]
        first_offset, next_offset = int(part.source.first_offset), int(part.source.next_offset)
        if head.next_offset <= first_offset or verified.lines is None:
            return
        if head.seq > int(part.last_seq) >= 1:
            held = held_hash(cursor, verified.shard, int(part.last_seq))
            if (held.hex() if held else None) != part.head_hash:
                raise not_a_prefix(f"shard {verified.shard} has another entry at seq {part.last_seq}")
        end = min(next_offset, head.next_offset)
        lines = [row[0] for row in cursor.execute(VERDICT_LINES, (verified.shard, first_offset, end), binary=True)]
        wanted = [
            line
            for verdict, line in zip(verified.lines.verdicts, verified.lines.verdict_lines, strict=True)
            if int(verdict.offset) < end
        ]
        if lines != wanted:
            raise not_a_prefix(f"shard {verified.shard} has other verdicts in offsets {first_offset}..{end - 1}")

    def _write_artefacts(self, cursor: Cursor[Any], rows: ArchivedRows) -> None:
        """The rows of the range's own tables, each inserted or found equal."""
        for table, values, stamp in (
            (RANGES, rows.range, rows.proved_at),
            (PROOFS, rows.proof, rows.proved_at),
            (CHECKPOINTS, rows.checkpoint, rows.proved_at),
            (OBJECTS, rows.archived, rows.stored_at),
            (MANIFESTS, rows.manifest, None),
        ):
            if values is not None:
                _insert(cursor, table, values, stamp)


def held_hash(cursor: Cursor[Any], shard: int, seq: int) -> bytes | None:
    """The entry hash that a shard holds at a sequence."""
    row = cursor.execute("SELECT entry_hash FROM entries WHERE shard = %s AND seq = %s", (shard, seq)).fetchone()
    return None if row is None else row[0]


def _insert(cursor: Cursor[Any], table: _Table, values: Sequence[object], moment: dt.datetime | None) -> None:
    """Insert a row, or find the columns that are compared equal in the row that has its key."""
    columns, compared = table.columns, table.columns[: table.compared]
    names = [*columns, table.stamp] if table.stamp else list(columns)
    given = [*values, moment] if table.stamp else list(values)
    marks = ", ".join(["%s"] * len(names))
    cursor.execute(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT DO NOTHING", given)
    if cursor.rowcount:
        return
    key = " AND ".join(f"{name} = %s" for name in columns[: table.key])
    row = cursor.execute(
        f"SELECT {', '.join(compared)} FROM {table.name} WHERE {key}", values[: table.key], binary=True
    ).fetchone() or (None,) * len(compared)
    differing = [name for name, have, want in zip(compared, row, values, strict=False) if not _same(name, have, want)]
    if differing:
        raise not_a_prefix(f"{table.name} {values[: table.key]} has another {', '.join(differing)} than the archive")


def _same(column: str, have: object, want: object) -> bool:
    if column in SAME and isinstance(have, bytes) and isinstance(want, bytes):
        return SAME[column](have, want)
    return have == want
