"""The rows that posting makes: one plan written on top of a shard's head, and what is known of event ids.

Guarantees: `write_plan` compares-and-swaps the head inside the caller's transaction, so a plan made from another head
raises Fenced and nothing of it stays. The poster and a rebuild write by it, and so the same plan gives the same rows.
Does not: open, commit or lock anything: that is the caller's transaction.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from psycopg import Cursor
from psycopg.rows import TupleRow

from ledger_core.books.personal import without_personal_data
from ledger_core.errors import Corrupt
from ledger_core.ports import Record
from ledger_core.postgres.posting.account_numbers import AccountNumbers, array_literal
from ledger_core.postgres.posting.copy_binary import packed_rows
from ledger_core.posting.newest_record import NewestRecord
from ledger_core.posting.plans import Known, Plan, ShardHead, Verdict
from ledger_core.posting.store_port import Fenced, HeavyLookUp

HEAD_COLUMNS: Final = (
    "shard, topic, first_offset, next_offset, seq, head_hash, accounts, posted, duplicates, rejected, relayed_offset, "
    "rules"
)
# What one look-up reads of the entries that a batch is compared with. A batch that names more is cut (HeavyLookUp): its
# transaction would hold all of it in memory, and sit idle for longer than it may while it is compared.
LOOK_UP_BYTES_MAX: Final = 8 * 1024 * 1024
INLINE_BYTES_MAX: Final = 1024  # bodies up to here come with the first answer: an ordinary entry's

# MATERIALIZED: thousands of ids are read from their text once, not once for each table.
FIRST_VERDICTS: Final = f"""
WITH asked AS MATERIALIZED (SELECT %s::text::uuid[] AS ids)
SELECT event_id::text, shard, seq, CASE WHEN octet_length(body) <= {INLINE_BYTES_MAX} THEN body END,
       octet_length(body), NULL::bytea, ''
  FROM entries WHERE event_id = ANY ((SELECT ids FROM asked)::uuid[])
UNION ALL
SELECT event_id::text, shard, 0, NULL, 0, content_hash, reason
  FROM verdicts WHERE first_verdict AND event_id = ANY ((SELECT ids FROM asked)::uuid[])"""

BODIES: Final = "SELECT event_id::text, body FROM entries WHERE event_id = ANY (%s::text::uuid[])"


def write_plan(
    cursor: Cursor[TupleRow], plan: Plan, numbers: AccountNumbers, relayed_offset: int, newest: NewestRecord | None
) -> Plan:
    """Write everything of a plan and move the head; the plan as written comes back. `newest`: the last record that was
    read, if the plan has one. Raises Fenced, psycopg.Error."""
    before, shard = plan.before, plan.before.shard
    accounts = before.accounts
    if plan.posted:
        accounts = numbers.number(cursor, plan.posted, before.accounts)
        entries, lines, balances = packed_rows(shard, plan.posted, numbers.by_account)
        _copy(cursor, "lines", lines)
        _copy(cursor, "entries", entries)
        numbers.add_balances(cursor, balances, before.accounts)
    if plan.verdicts:
        _insert_verdicts(cursor, shard, plan.verdicts)
    after = msgspec.structs.replace(plan.after, accounts=accounts, relayed_offset=relayed_offset)
    cursor.execute(
        "UPDATE shards SET next_offset = %s, seq = %s, head_hash = %s, accounts = %s, posted = %s, "
        "duplicates = %s, rejected = %s, relayed_offset = %s, rules = %s, "
        "newest_record_offset = coalesce(%s, newest_record_offset), newest_record_ms = coalesce(%s, newest_record_ms), "
        "newest_record_sha256 = coalesce(%s, newest_record_sha256), "
        "changed_at = clock_timestamp() "
        "WHERE shard = %s AND next_offset = %s",
        (
            *(after.next_offset, after.seq, after.head_hash, after.accounts, after.posted, after.duplicates),
            *(after.rejected, after.relayed_offset, after.rules),
            *((newest.offset, newest.timestamp_ms, newest.digest) if newest else (None, None, None)),
            *(shard, before.next_offset),
        ),
    )
    if cursor.rowcount != 1:
        raise Fenced(f"shard {shard} moved under its row lock")
    return Plan(before, after, plan.posted, plan.verdicts)


def read_head(cursor: Cursor[TupleRow], shard: int) -> ShardHead:
    """The row of a shard. Raises Corrupt without one."""
    row = cursor.execute(f"SELECT {HEAD_COLUMNS} FROM shards WHERE shard = %s", (shard,)).fetchone()
    if row is None:
        raise Corrupt(f"shard {shard} has no row in shards")
    return ShardHead(**dict(zip((name.strip() for name in HEAD_COLUMNS.split(",")), row, strict=True)))


def look_up(cursor: Cursor[TupleRow], compared: Sequence[str], named: Sequence[str]) -> dict[str, Known]:
    """The first verdict of each event id that has one; of the `compared` ones that are posted with the body.

    Raises HeavyLookUp when these weigh more than LOOK_UP_BYTES_MAX, unless it is one id.
    """
    if not compared and not named:
        return {}
    known: dict[str, Known] = {}
    large: dict[str, int] = {}
    rows = cursor.execute(FIRST_VERDICTS, (array_literal((*compared, *named)),))
    for event_id, shard, seq, body, size, content_hash, reason in rows:
        if seq or event_id not in known:
            known[event_id] = Known(shard, seq, body, content_hash, reason)
            if seq and body is None:
                large[event_id] = size
    if large:
        wanted = large.keys() & set(compared)
        for event_id, body in bodies_of(cursor, {event_id: large[event_id] for event_id in wanted}):
            known[event_id] = msgspec.structs.replace(known[event_id], body=body)
    return known


def bodies_of(cursor: Cursor[TupleRow], sizes: Mapping[str, int]) -> Iterable[tuple[str, bytes]]:
    """(event id, body) of entries whose sizes are known. Raises HeavyLookUp."""
    size = sum(sizes.values())
    if size > LOOK_UP_BYTES_MAX and len(sizes) > 1:
        raise HeavyLookUp(f"{len(sizes)} event ids of the batch name entries of {size} bytes")
    return cursor.execute(BODIES, (array_literal(sizes),), binary=True) if sizes else ()


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
    originals = [without_personal_data(v.record) for v in verdicts if v.kind == "rejected" and v.record is not None]
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
