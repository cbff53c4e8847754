"""What a proof on demand is made from (closed ranges, entries, verdict lines), and where it is kept.

Guarantees: memory is bounded by one range of entries and one page of ranges; the proof and its audit intent are one
transaction. Everything read is append-only, so that no snapshot is needed.
Does not: judge what it reads. Needs the grants of finance_api.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

import psycopg

from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.proving.prover_store import RANGE_COLUMNS, VERDICT_LINES
from ledger_core.postgres.proving.time_decisions import accepted_until
from ledger_core.postgres.session import database_clock, translated
from ledger_core.proving.closed_range import ClosedRange

RANGES_PAGE: Final = 2000

SHARDS: Final = """
SELECT s.shard FROM shards s WHERE EXISTS (SELECT 1 FROM proofs p WHERE p.shard = s.shard) ORDER BY s.shard"""

NEWEST_PROVED: Final = f"""
SELECT {RANGE_COLUMNS} FROM ranges
 WHERE shard = %(shard)s AND range_no = (SELECT max(range_no) FROM proofs WHERE shard = %(shard)s)"""

RANGE_NUMBERED: Final = f"SELECT {RANGE_COLUMNS} FROM ranges WHERE shard = %s AND range_no = %s"

# last_seq never falls as range_no grows: the first range that reaches seq holds it.
NUMBER_REACHING: Final = "SELECT last_seq >= %s FROM ranges WHERE shard = %s AND range_no = %s"
LAST_NUMBER: Final = "SELECT coalesce(max(range_no), 0) FROM ranges WHERE shard = %s"

PAYLOADS: Final = """
SELECT payload, hash FROM ranges WHERE shard = %s AND range_no BETWEEN %s AND %s ORDER BY range_no"""

PROOF: Final = "SELECT proof FROM proofs WHERE shard = %s AND range_no = %s"

BODIES: Final = "SELECT body FROM entries WHERE shard = %s AND seq BETWEEN %s AND %s ORDER BY seq"

NEWEST_SEQ: Final = "SELECT coalesce(max(seq), 0) FROM entries WHERE shard = %s"
REACHES_MOMENT: Final = "SELECT recorded_at >= %s FROM entries WHERE shard = %s AND seq = %s"

INSERT_PROOF: Final = "INSERT INTO proofs (proof_id, proof) VALUES (%s, %s)"


class PostgresOnDemandStore:
    """The OnDemandReader port, and `publish`. `connection` is in autocommit mode."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @translated()
    def shards(self) -> list[int]:
        """Every shard that has a proved range."""
        return [row[0] for row in self._connection.execute(SHARDS).fetchall()]

    @translated()
    def newest_proved(self, shard: int) -> ClosedRange | None:
        """The newest range of a shard that has a proof."""
        row = self._connection.execute(NEWEST_PROVED, {"shard": shard}, binary=True).fetchone()
        return None if row is None else ClosedRange(*row)

    @translated()
    def range_holding(self, shard: int, seq: int) -> ClosedRange | None:
        """The range with first_seq <= seq <= last_seq, found in some twenty look-ups by number."""
        low, high = 1, self._one(LAST_NUMBER, (shard,)) + 1
        while low < high:
            middle = (low + high) // 2
            if self._one(NUMBER_REACHING, (seq, shard, middle)):
                high = middle
            else:
                low = middle + 1
        found = self.range_numbered(shard, low)
        return found if found is not None and found.first_seq <= seq <= found.last_seq else None

    @translated()
    def range_numbered(self, shard: int, range_no: int) -> ClosedRange | None:
        """One closed range by its number."""
        row = self._connection.execute(RANGE_NUMBERED, (shard, range_no), binary=True).fetchone()
        return None if row is None else ClosedRange(*row)

    def payloads(self, shard: int, first_no: int, last_no: int) -> Iterator[tuple[bytes, bytes]]:
        """(payload, hash) of ranges first_no..last_no in order, a page at a time."""
        for page_no in range(first_no, last_no + 1, RANGES_PAGE):
            page = (shard, page_no, min(page_no + RANGES_PAGE - 1, last_no))
            with translated():
                rows = self._connection.execute(PAYLOADS, page, binary=True).fetchall()
            yield from rows

    @translated()
    def proof(self, shard: int, range_no: int) -> bytes | None:
        """The signed proof of a range."""
        row = self._connection.execute(PROOF, (shard, range_no), binary=True).fetchone()
        return None if row is None else row[0]

    @translated()
    def bodies(self, shard: int, first_seq: int, last_seq: int) -> list[bytes]:
        """The canonical entries first_seq..last_seq, in order."""
        rows = self._connection.execute(BODIES, (shard, first_seq, last_seq), binary=True).fetchall()
        return [row[0] for row in rows]

    @translated()
    def verdict_lines(self, shard: int, first_offset: int, next_offset: int) -> list[bytes]:
        """The verdict lines of the offsets `[first_offset, next_offset)`, in order."""
        rows = self._connection.execute(VERDICT_LINES, (shard, first_offset, next_offset), binary=True).fetchall()
        return [row[0] for row in rows]

    @translated()
    def first_seq_from(self, shard: int, moment: dt.datetime) -> int:
        """The first sequence with recorded_at at or after `moment`, by bisection over the primary key."""
        low, high = 1, self._one(NEWEST_SEQ, (shard,)) + 1
        while low < high:
            middle = (low + high) // 2
            if self._one(REACHES_MOMENT, (moment, shard, middle)):
                high = middle
            else:
                low = middle + 1
        return low

    @translated()
    def now(self) -> dt.datetime:
        """The database's clock."""
        return database_clock(self._connection)

    @translated()
    def accepted_until(self, shard: int) -> dt.datetime | None:
        """Up to which time an operator accepted records of the shard that are dated ahead."""
        return accepted_until(self._connection, shard)

    @translated()
    def publish(self, proof_id: str, proof: bytes, intent: AuditIntent) -> None:
        """Keep a signed proof that belongs to no one range, with its audit intent; the COMMIT publishes it."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(INSERT_PROOF, (proof_id, proof))
            append_intent(cursor, intent)

    def close(self) -> None:
        self._connection.close()

    def _one(self, query: str, values: tuple[object, ...]) -> int:
        row = self._connection.execute(query, values).fetchone()
        return 0 if row is None else row[0]
