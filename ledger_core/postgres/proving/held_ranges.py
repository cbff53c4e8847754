"""Which closed ranges this database holds, and in which epoch it is: to be compared with what is published.

Read-only; needs the grants of finance_prover or finance_archiver. Does not judge.
"""

from __future__ import annotations

from typing import Any, Final, LiteralString

import psycopg

from ledger_core.audit.events import AuditEvent
from ledger_core.postgres.audit.notary_store import EVENT_COLUMNS, event_from_row
from ledger_core.postgres.session import translated

HEADS: Final = """
SELECT s.shard, coalesce((SELECT max(p.range_no) FROM proofs p WHERE p.shard = s.shard), 0),
       coalesce((SELECT max(r.range_no) FROM ranges r WHERE r.shard = s.shard), 0)
  FROM shards s"""
CHAINED: Final = f"SELECT {EVENT_COLUMNS} FROM announced_ranges(%s, %s, %s)"


class PostgresHeldRanges:
    """On a connection that is another store's as well: one thread uses both."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @translated()
    def proof_hash(self, shard: int, range_no: int) -> str | None:
        """The hash (hex) of the proof of a closed range; None when it is not there."""
        row = self._connection.execute(
            "SELECT encode(hash, 'hex') FROM ranges WHERE shard = %s AND range_no = %s", (shard, range_no)
        ).fetchone()
        return None if row is None else str(row[0])

    def newest(self, shard: int) -> int:
        """The number of the newest closed range; 0 when there is none."""
        return self._number("SELECT coalesce(max(range_no), 0) FROM ranges WHERE shard = %s", shard)

    def newest_proved(self, shard: int) -> int:
        """The number of the newest range with a proof; 0 when there is none."""
        return self._number("SELECT coalesce(max(range_no), 0) FROM proofs WHERE shard = %s", shard)

    def epoch_no(self) -> int:
        """The number of the newest epoch; 0 when there is none."""
        return self._number("SELECT coalesce(max(epoch_no), 0) FROM epochs")

    @translated()
    def is_announced(self, proof_hash: str) -> bool:
        """Whether the range of that proof stands on the audit topic, so that its bytes bind whoever comes later. Needs
        the grants of finance_prover."""
        row = self._connection.execute("SELECT range_is_announced(%s)", (proof_hash,)).fetchone()
        return row is not None and bool(row[0])

    @translated()
    def range_heads(self) -> dict[int, tuple[int, int]]:
        """Of each shard the numbers of the newest range with a proof, and of the newest closed one; 0: none."""
        return {shard: (proved_no, closed_no) for shard, proved_no, closed_no in self._connection.execute(HEADS)}

    def chain_end(self) -> int:
        """The seq of the newest event of the audit chain; 0 when there is none. Needs the grants of finance_prover, as
        the next two do."""
        return self._number("SELECT audit_chain_end()")

    @translated()
    def chain_holds(self, seq: int, event_hash: str) -> bool:
        """Whether the event of that seq is the one of that hash."""
        row = self._connection.execute("SELECT audit_chain_holds(%s, %s)", (seq, event_hash)).fetchone()
        return row is not None and bool(row[0])

    @translated()
    def chained(self, shard: int, from_no: int, at_most: int) -> list[AuditEvent]:
        """What announces the ranges of a shard from a number on, by that number, at most 2,000. Not verified."""
        rows = self._connection.execute(CHAINED, (shard, from_no, at_most)).fetchall()
        return [event_from_row(row) for row in rows]

    @translated()
    def _number(self, query: LiteralString, *values: int) -> int:
        row = self._connection.execute(query, values).fetchone()
        return 0 if row is None else int(row[0])
