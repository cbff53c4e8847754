"""What the prover may ask of the audit chain: few questions, answered by an index however long the chain is."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from ledger_core.postgres.proving.held_ranges import PostgresHeldRanges
from tests.support.databases import role_url

pytestmark = pytest.mark.services

SHARDS = 1_000
EVENTS = 100_000
# Each second event announces a range; the numbers of a shard's ranges follow each other.
FILL = """
INSERT INTO audit_events (id, seq, actor_id, event_type, payload, prev_hash, hash, signature, signer_kid, created_at)
SELECT 'event-' || n, n, 'service:prover', CASE WHEN n %% 2 = 1 THEN 'journal.posted' ELSE 'proof.published' END,
       jsonb_build_object('shard', (n / 2) %% %(shards)s, 'range_no', (n / 2 / %(shards)s + 1)::text,
                          'proof_hash', repeat('ab', 20) || n),
       CASE WHEN n > 1 THEN encode(sha256((n - 1)::text::bytea), 'hex') END, encode(sha256(n::text::bytea), 'hex'),
       'signature', 'kid', timestamptz '2025-11-01' + n * interval '1 millisecond'
  FROM generate_series(%(first)s, %(last)s) AS n"""
RUBBISH = ('{"shard": 7, "range_no": "rubbish"}', '{"shard": "many", "range_no": "9"}', '{"shard": [7]}', "{}")


@pytest.fixture
def chain(database_url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A database with a long chain, as its owner."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(FILL, {"shards": SHARDS, "first": 1, "last": EVENTS})
        owner.execute("ANALYZE audit_events")
        yield owner


def test_announced_ranges_of_a_shard_come_by_an_index_among_many(
    database_url: str, chain: psycopg.Connection[tuple[object, ...]]
) -> None:
    with psycopg.connect(role_url(database_url, "finance_prover"), autocommit=True) as connection:
        held = PostgresHeldRanges(connection)
        digest = chain.execute("SELECT hash FROM audit_events WHERE seq = %s", (EVENTS,)).fetchone()
        assert digest is not None
        assert held.chain_end() == EVENTS
        assert held.chain_holds(EVENTS, str(digest[0]))
        assert not held.chain_holds(EVENTS - 1, str(digest[0]))
        for shard in (0, 7, SHARDS - 1):
            told = held.chained(shard, 3, 2)
            assert [(it.payload["shard"], it.payload["range_no"]) for it in told] == [(shard, "3"), (shard, "4")]
        assert held.chained(SHARDS, 1, 10) == []
        assert len(held.chained(7, 1, 1_000)) == EVENTS // 2 // SHARDS
        connection.execute("SELECT pg_stat_force_next_flush()")
    row = chain.execute("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'audit_events'").fetchone()
    used = chain.execute(
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'audit_events_posted_ranges'"
    ).fetchone()
    assert used is not None
    assert used[0] == 5, row


def test_what_a_payload_holds_stops_nobody(database_url: str, chain: psycopg.Connection[tuple[object, ...]]) -> None:
    for number, payload in enumerate([*RUBBISH, '{"shard": 7, "range_no": "' + "9" * 5_000 + '"}'], EVENTS + 1):
        chain.execute(FILL, {"shards": SHARDS, "first": number, "last": number})
        chain.execute("ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only")
        chain.execute(
            "UPDATE audit_events SET event_type = 'journal.posted', payload = %s::jsonb WHERE seq = %s",
            (payload, number),
        )
    with psycopg.connect(role_url(database_url, "finance_prover"), autocommit=True) as connection:
        told = PostgresHeldRanges(connection).chained(7, 1, 1_000)
    assert [it.payload["range_no"] for it in told] == [str(no) for no in range(1, EVENTS // 2 // SHARDS + 1)]
