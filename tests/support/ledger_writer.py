"""Putting a ledger made in memory into Postgres, past every trigger, and editing it there as a superuser can."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from ledger_core.audit.events import AuditEvent
from ledger_core.proving.range_proof import parse_proof
from tests.simulator.ledger import MemoryLedger


@contextmanager
def superuser(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection on which no trigger fires: what grants and triggers cannot stop, verification must find."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def write_ledger(database_url: str, ledger: MemoryLedger) -> None:
    """All rows of the ledger."""
    with superuser(database_url) as connection, connection.cursor() as cursor:
        for row in ledger.shard_rows:
            cursor.execute(
                "INSERT INTO shards (shard, topic, first_offset, next_offset, seq, head_hash, accounts, posted, "
                "duplicates, rejected, rules, relayed_offset) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (*row, row.first_offset),
            )
        for table, columns, rows in (
            ("entries", "seq, event_id, source_offset, recorded_at, entry_hash, body", ledger.entry_rows),
            ("lines", "seq, line_no, account_no, side, amount_minor, currency", ledger.line_rows),
            ("accounts", "account_no, account", ledger.account_rows),
            ("balances", "account_no, currency, debits, credits", ledger.balance_rows),
        ):
            marks = ", ".join(["%s"] * (columns.count(",") + 2))
            values = [(shard, *row) for shard, table_rows in rows.items() for row in table_rows]
            cursor.executemany(f"INSERT INTO {table} (shard, {columns}) VALUES ({marks})", values)
        cursor.executemany(
            "INSERT INTO verdicts (shard, source_offset, verdict, reason, event_id, content_hash, line, first_verdict, "
            "detail) VALUES (%s, %s, %s, %s, %s, %s, %s, false, '')",
            [(shard, *row) for shard, rows in ledger.verdict_rows.items() for row in rows],
        )
        _write_ranges(cursor, ledger)
        for shard, notes in ledger.signed_notes.items():
            sizes = {row.next_offset: row.last_seq for row in ledger.range_rows[shard]}
            cursor.executemany(
                "INSERT INTO checkpoints (shard, next_offset, tree_size, note) VALUES (%s, %s, %s, %s)",
                [(shard, offset, sizes.get(offset, 0), note) for offset, note in notes],
            )


def _write_ranges(cursor: psycopg.Cursor[Any], ledger: MemoryLedger) -> None:
    for shard, rows in ledger.range_rows.items():
        for row in rows:
            cursor.execute(
                "INSERT INTO ranges (shard, range_no, first_seq, last_seq, first_offset, next_offset, payload, hash, "
                "checkpoint_text, tree, verdict_tree, head_hash, journal_offset) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 0)",
                (shard, *row[:-1]),
            )
            if row.proof is not None:
                proof_id = parse_proof(row.proof).proof_id
                cursor.execute(
                    "INSERT INTO proofs (proof_id, shard, range_no, proof) VALUES (%s, %s, %s, %s)",
                    (proof_id, shard, row.range_no, row.proof),
                )
    for proof in ledger.asked_for:
        cursor.execute("INSERT INTO proofs (proof_id, proof) VALUES (%s, %s)", (parse_proof(proof).proof_id, proof))


def write_audit(database_url: str, events: list[AuditEvent]) -> None:
    with superuser(database_url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO audit_events VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s, %s, %s, %s)",
            [event.to_row() for event in events],
        )
        cursor.execute("UPDATE notary_cursor SET published_seq = %s", (len(events),))
