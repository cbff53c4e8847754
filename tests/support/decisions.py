"""What operators decide, a statement a table, and what stands before: one halt, number 1, and one closed range."""

from __future__ import annotations

import psycopg

from tests.support.meant_acts import data, go_on, halt, lift
from tests.support.payout_acts import PAYOUTS_STANDING, approve, close, hold, let_go, payout

RANGE = (
    "INSERT INTO ranges VALUES (0, 1, 1, 0, 0, 1, '', decode(repeat('00', 32), 'hex'), '', '', NULL, 0, DEFAULT, '')"
)

APPROVE = (
    "INSERT INTO personal_approvals (event_id, reason, actor_id, trace_id) "
    "VALUES ('00000000-0000-0000-0000-000000000001', 'r', 'operator:{}', '')"
)
DISCLOSE = (
    "INSERT INTO personal_disclosures (from_ts, to_ts, fields, reason, actor_id, trace_id) "
    "VALUES ('2025-11-01', '2025-12-01', '{{}}', 'r', 'operator:{}', '')"
)
STANDING = (
    *(f"INSERT INTO shards VALUES ({n}, 't', 0, 0, 0, NULL, 0, 0, 0, 0, 0)" for n in range(5)),
    "INSERT INTO shard_halts (shard, kind, at_offset, detail) VALUES (0, 'dead_letters', 0, 'd'), "
    "(1, 'unreadable', 5, 'd'), (3, 'unreadable', 5, 'd'), (4, 'refused', 5, 'd')",
    go_on(3, aside="7"),
    APPROVE.format("coo"),
    data("{}", "{}"),
    data("{}", "{}").replace("personal_data (", "personal_data (kept, ").replace("VALUES (", "VALUES (true, "),
    *PAYOUTS_STANDING,
    "TRUNCATE audit_outbox",
    halt("operator:first"),
)


def stand_decisions(database_url: str) -> None:
    """Write what stands before, as the owner."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(RANGE.encode())
        for statement in STANDING:
            connection.execute(statement.encode())


TIME = "INSERT INTO time_decisions (shard, upto, reason, actor_id, trace_id) VALUES (5, '{}', 'r', 'operator:{}', '')"
LOCK = "INSERT INTO lock_decisions (object_key, reason, actor_id, trace_id) VALUES ('k', 'r', 'operator:{}', '')"
ERASE = (
    "INSERT INTO personal_erasures (event_id, reason, actor_id, trace_id) "
    "VALUES ('00000000-0000-0000-0000-000000000001', 'r', 'operator:{}', '')"
)
# Table -> an operator's decision in it, each possible behind those above. Shard 5 has one entry, of 2025-11-01, behind
# its newest range.
DECISIONS = {
    "payouts": payout("c", "cfo"),
    "payout_approvals": approve("b", "cfo"),
    "payout_closings": close("b", "rejected", "cfo"),
    "payee_holds": hold("c", "cfo"),
    "payee_holds_lifted": let_go("b", "cfo"),
    "halts": halt("operator:cfo"),
    "halts_lifted": lift("operator:cfo"),
    "lock_decisions": LOCK.format("cfo"),
    "personal_approvals": APPROVE.format("cfo"),
    "personal_disclosures": DISCLOSE.format("cfo"),
    "personal_erasures": ERASE.format("cfo"),
    "shard_resumes": go_on(1, allowed="1"),
    "time_decisions": TIME.format("2025-11-01", "cfo"),
}
