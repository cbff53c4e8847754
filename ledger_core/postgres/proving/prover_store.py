"""What the prover reads and writes: shard positions, verdict lines, closed ranges, proofs and checkpoints.

Guarantees: a range and its audit intent are one transaction, and so are a proof, its checkpoint and theirs; whoever
comes second with the same range or proof writes nothing and learns that. Statements touch one shard each.
Does not: compute or judge anything. Needs the grants of finance_prover.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from ledger_core.errors import Corrupt
from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.proving.time_decisions import accepted_until
from ledger_core.postgres.session import database_clock, translated
from ledger_core.proving.closed_range import ClosedRange
from ledger_core.proving.open_range import ShardPosition
from ledger_core.proving.range_proof import same_proof

POSITION: Final = """
SELECT shard, topic, first_offset, relayed_offset, seq, head_hash FROM shards WHERE shard = %s"""

POSITIONS: Final = POSITION.replace("shard = %s", "shard = ANY(%s)")

RANGE_COLUMNS: Final = (
    "shard, range_no, first_seq, last_seq, first_offset, next_offset, payload, hash, checkpoint_text, tree, "
    "verdict_tree, head_hash, journal_offset"
)
LAST_RANGE: Final = f"SELECT {RANGE_COLUMNS} FROM ranges WHERE shard = %s ORDER BY range_no DESC LIMIT 1"

VERDICT_LINES: Final = """
SELECT line FROM verdicts WHERE shard = %s AND source_offset >= %s AND source_offset < %s ORDER BY source_offset"""

INSERT_RANGE: Final = f"""
INSERT INTO ranges ({RANGE_COLUMNS})
SELECT %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s
 WHERE %s::integer IS NULL OR %s = (SELECT max(epoch_no) FROM epochs)
ON CONFLICT DO NOTHING"""

# Proofs of a shard are signed in order, so those without one are all beyond the newest with one.
UNSIGNED: Final = f"""
SELECT {RANGE_COLUMNS} FROM ranges
 WHERE shard = %(shard)s
   AND range_no > (SELECT coalesce(max(range_no), 0) FROM proofs WHERE shard = %(shard)s)
 ORDER BY range_no LIMIT %(limit)s"""

RANGE_BELOW: Final = f"""
SELECT {RANGE_COLUMNS} FROM ranges WHERE shard = %s AND last_seq <= %s ORDER BY range_no DESC LIMIT 1"""

INSERT_PROOF: Final = """
INSERT INTO proofs (proof_id, shard, range_no, proof) VALUES (%s, %s, %s, %s)
ON CONFLICT (shard, range_no) DO NOTHING"""

INSERT_CHECKPOINT: Final = """
INSERT INTO checkpoints (shard, tree_size, next_offset, note) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"""


class PostgresProverStore:
    """The prover's door. `connection` is in autocommit mode; every method raises Unavailable("postgres")."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @translated()
    def position(self, shard: int) -> ShardPosition | None:
        """What the poster committed for a shard, in one reading; None while it posted nothing there."""
        row = self._connection.execute(POSITION, (shard,)).fetchone()
        return None if row is None else ShardPosition(*row)

    @translated()
    def positions(self, shards: Sequence[int]) -> dict[int, ShardPosition]:
        """`position` of several shards that have one, in one reading."""
        rows = self._connection.execute(POSITIONS, (list(shards),)).fetchall()
        return {row[0]: ShardPosition(*row) for row in rows}

    @translated()
    def last_range(self, shard: int) -> ClosedRange | None:
        """The newest closed range of a shard."""
        row = self._connection.execute(LAST_RANGE, (shard,)).fetchone()
        return None if row is None else ClosedRange(*row)

    @translated()
    def now(self) -> dt.datetime:
        """The database's clock."""
        return database_clock(self._connection)

    @translated()
    def accepted_until(self, shard: int) -> dt.datetime | None:
        """Up to which time an operator accepted records of the shard that are dated ahead."""
        return accepted_until(self._connection, shard)

    @translated()
    def verdict_lines(self, shard: int, first_offset: int, next_offset: int) -> list[bytes]:
        """The verdict lines of the offsets `[first_offset, next_offset)`, in order."""
        rows = self._connection.execute(VERDICT_LINES, (shard, first_offset, next_offset), binary=True).fetchall()
        return [row[0] for row in rows]

    @translated()
    def close_range(self, closed: ClosedRange, intent: AuditIntent, epoch_no: int | None) -> bool:
        """Write a range and its audit intent down; the COMMIT closes the range.

        False: another process closed one, or the database is in another epoch than `epoch_no` (None: in any).
        """
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(
                INSERT_RANGE,
                (
                    closed.shard,
                    closed.range_no,
                    closed.first_seq,
                    closed.last_seq,
                    closed.first_offset,
                    closed.next_offset,
                    closed.payload,
                    closed.hash,
                    closed.checkpoint_text,
                    closed.tree,
                    closed.verdict_tree,
                    closed.head_hash,
                    closed.journal_offset,
                    epoch_no,
                    epoch_no,
                ),
            )
            if cursor.rowcount == 0:
                return False
            append_intent(cursor, intent)
        return True

    @translated()
    def unsigned(self, shard: int, limit: int) -> list[ClosedRange]:
        """Closed ranges without a proof, oldest first, at most `limit`."""
        rows = self._connection.execute(UNSIGNED, {"shard": shard, "limit": limit}, binary=True).fetchall()
        return [ClosedRange(*row) for row in rows]

    @translated()
    def range_below(self, shard: int, size: int) -> ClosedRange | None:
        """The newest closed range whose tree has at most `size` leaves."""
        row = self._connection.execute(RANGE_BELOW, (shard, size), binary=True).fetchone()
        return None if row is None else ClosedRange(*row)

    @translated()
    def publish_proof(self, closed: ClosedRange, proof_id: str, proof: bytes, note: bytes, intent: AuditIntent) -> bool:
        """Write a proof, its checkpoint and the intent down; the COMMIT publishes them.

        False: the proof was there already, perhaps cosigned by others: another prover made it meanwhile. Raises Corrupt
        when the range holds the proof of another statement.
        """
        with self._connection.transaction(), self._connection.cursor() as cursor:
            cursor.execute(INSERT_PROOF, (proof_id, closed.shard, closed.range_no, proof))
            if cursor.rowcount == 0:
                self._check_same_proof(cursor, closed, proof_id, proof)
                return False
            cursor.execute(INSERT_CHECKPOINT, (closed.shard, closed.last_seq, closed.next_offset, note))
            append_intent(cursor, intent)
        return True

    def close(self) -> None:
        self._connection.close()

    @staticmethod
    def _check_same_proof(cursor: psycopg.Cursor[Any], closed: ClosedRange, proof_id: str, proof: bytes) -> None:
        place = (closed.shard, closed.range_no)  # not the id: whoever stores others' proofs might have taken it
        row = cursor.execute("SELECT proof FROM proofs WHERE shard = %s AND range_no = %s", place).fetchone()
        if row is None or not same_proof(bytes(row[0]), proof):
            raise Corrupt(f"another proof stands under {proof_id}")
