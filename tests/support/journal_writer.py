"""Putting a tiny shard where the poster would: rows into Postgres (as superuser), records into the journal topic."""

from __future__ import annotations

import psycopg

from ledger_core.times import parse_time
from producers.kafka.publisher import KafkaPublisher
from schemas.wire.journal import encode_journal
from tests.support.journal_factory import TinyShard
from tests.support.kafka import tls

SHARD = """
INSERT INTO shards (shard, topic, first_offset, next_offset, seq, head_hash, posted, duplicates, rejected,
                    relayed_offset)
VALUES (%(shard)s, %(topic)s, %(first)s, %(next)s, %(seq)s, %(head)s, %(seq)s, %(silent)s, 0, %(next)s)
ON CONFLICT (shard) DO UPDATE SET next_offset = excluded.next_offset, seq = excluded.seq, posted = excluded.posted,
    duplicates = excluded.duplicates, head_hash = excluded.head_hash, relayed_offset = excluded.relayed_offset"""

ENTRY = """
INSERT INTO entries (shard, seq, event_id, source_offset, recorded_at, entry_hash, body)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""

VERDICT = """
INSERT INTO verdicts (shard, source_offset, verdict, reason, first_verdict, detail, line)
VALUES (%s, %s, %s, 'x', false, '', %s) ON CONFLICT DO NOTHING"""


def write(database_url: str, shard: TinyShard) -> None:
    """Make Postgres hold what the shard holds (again: adds what is new)."""
    row = {
        "shard": shard.shard,
        "topic": shard.topic,
        "first": shard.first_offset,
        "next": shard.next_offset,
        "seq": len(shard.entries),
        "head": shard.head,
        "silent": len(shard.verdicts),
    }
    entries = [
        (
            shard.shard,
            item.seq,
            item.entry.event_id,
            item.offset,
            parse_time(item.entry.recorded_at),
            item.entry_hash,
            item.body,
        )
        for item in shard.entries
    ]
    verdicts = [
        (shard.shard, offset, "duplicate" if b'"duplicate"' in line else "rejected", line)
        for offset, line in sorted(shard.verdicts.items())
    ]
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        cursor.executemany(ENTRY, entries)
        cursor.executemany(VERDICT, verdicts)
        cursor.execute(SHARD, row)


def publish(brokers: str, topic: str, shard: TinyShard, first_seq: int = 1, last_seq: int | None = None) -> None:
    """Publish entries to the journal, as the relay would."""
    publisher = KafkaPublisher(brokers, tls(brokers))
    for item in shard.entries[first_seq - 1 : last_seq]:
        value = encode_journal(shard.shard, item.seq, item.body, item.entry_hash)
        publisher.publish(topic, shard.shard, key=None, value=value)
    publisher.flush(300)
