"""Which closed ranges this database holds, and in which epoch it is: to be compared with what is published.

Read-only; needs the grants of finance_prover or finance_archiver. Does not judge.
"""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg

from ledger_core.postgres.session import translated


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
    def _number(self, query: LiteralString, *values: int) -> int:
        row = self._connection.execute(query, values).fetchone()
        return 0 if row is None else int(row[0])
