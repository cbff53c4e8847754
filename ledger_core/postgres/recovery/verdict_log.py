"""The verdict log of a ledger in Postgres, as a replay asks it.

Guarantees: one read-only session; each answer is of committed rows, which never change. Needs the grants of
finance_auditor. Does not: judge what it reads.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger_core.postgres.posting.plan_writer import INLINE_BYTES_MAX, bodies_of
from ledger_core.postgres.posting.rules_in_force import activated
from ledger_core.postgres.posting.shard_halts import set_aside_end
from ledger_core.postgres.session import Session, translated
from ledger_core.posting.plans import Known

COVERS: Final = "SELECT next_offset FROM shards WHERE shard = %s"

# Reads the verdicts of the offsets alone, by their primary key: nothing, in a shard whose publishers make no mistakes.
TAKEN_ELSEWHERE: Final = f"""
SELECT v.source_offset, v.event_id::text, e.shard, e.seq,
       CASE WHEN octet_length(e.body) <= {INLINE_BYTES_MAX} THEN e.body END, octet_length(e.body), NULL::bytea, ''
  FROM verdicts v JOIN entries e ON e.event_id = v.event_id AND e.shard <> v.shard
 WHERE v.shard = %(shard)s AND v.source_offset >= %(first)s AND v.source_offset < %(next)s
UNION ALL
SELECT v.source_offset, v.event_id::text, f.shard, 0, NULL, 0, f.content_hash, f.reason
  FROM verdicts v JOIN verdicts f ON f.event_id = v.event_id AND f.first_verdict AND f.shard <> v.shard
 WHERE v.shard = %(shard)s AND v.source_offset >= %(first)s AND v.source_offset < %(next)s"""


class PostgresVerdictLog:
    """`ledger_core.recovery.replay_port.VerdictLog` on a session in autocommit mode."""

    knows_first = True

    def __init__(self, connection: Session) -> None:
        self._connection = connection
        self._covers: dict[int, int] = {}

    def covers(self, shard: int) -> int:
        if shard not in self._covers:
            with translated():
                row = self._connection.execute(COVERS, (shard,)).fetchone()
            self._covers[shard] = 0 if row is None else row[0]
        return self._covers[shard]

    @translated()
    def set_aside_end(self, shard: int, offset: int) -> int:
        return set_aside_end(self._connection, shard, offset)

    @translated()
    def activated(self, shard: int, offset: int) -> bool | None:
        return activated(self._connection, shard, offset)

    @translated()
    def taken_elsewhere(self, shard: int, first_offset: int, next_offset: int) -> dict[int, tuple[str, Known]]:
        wanted = {"shard": shard, "first": first_offset, "next": next_offset}
        found: dict[int, tuple[str, Known]] = {}
        large: dict[str, int] = {}
        for offset, event_id, of, seq, body, size, digest, reason in self._connection.execute(TAKEN_ELSEWHERE, wanted):
            if seq or offset not in found:  # an entry outranks a rejection, as in `plan_writer.look_up`
                found[offset] = (event_id, Known(of, seq, body, digest, reason))
                if seq and body is None:
                    large[event_id] = size
        bodies = dict(bodies_of(self._connection.cursor(), large))
        for offset, (event_id, known) in found.items():
            if event_id in bodies and known.is_posted:
                found[offset] = (event_id, msgspec.structs.replace(known, body=bodies[event_id]))
        return found
