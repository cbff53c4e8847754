"""An audit chain of millions of events, generated: what the processes ask of it, and what checking its ids takes.

    python -m tests.bench audit -- --events 10000000 --shards 1000

Every third event announces a range, as the notary chains them. Hash and signature of the events are made up: nothing
here verifies them.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence

import psycopg

from ledger_core.findings import Collector
from ledger_core.postgres.audit.export_store import PostgresAuditExportStore
from ledger_core.postgres.audit.notary_store import PostgresAuditStore
from ledger_core.postgres.proving.held_ranges import PostgresHeldRanges
from ledger_core.verify.event_ids import EventIds, pack_text
from tests.bench.figures import show
from tests.bench.load import fresh_ledger

CHUNK = 500_000
QUESTIONS = 200
FILL = """
INSERT INTO audit_events (id, seq, actor_id, event_type, payload, prev_hash, hash, signature, signer_kid, created_at)
SELECT gen_random_uuid()::text, n, CASE n %% 3 WHEN 2 THEN 'service:archiver' ELSE 'service:prover' END,
       (ARRAY['journal.posted', 'proof.published', 'audit_export.completed'])[1 + n %% 3],
       jsonb_build_object('shard', (n / 3) %% %(shards)s, 'range_no', (n / 3 / %(shards)s + 1)::text,
                          'proof_hash', encode(sha256(n::text::bytea), 'hex'), 'head_hash', repeat('c', 64),
                          'origin', 'example.com/finance/production/ledger/' || (n / 3) %% %(shards)s,
                          'first_seq', n::text, 'last_seq', (n + 9999)::text, 'trace_id', repeat('ab', 16)),
       CASE WHEN n > 1 THEN encode(sha256((n - 1)::text::bytea), 'hex') END, encode(sha256(n::text::bytea), 'hex'),
       repeat('s', 88), 'finance-audit-v1', timestamptz '2025-11-01' + n * interval '1 millisecond'
  FROM generate_series(%(first)s, %(last)s) AS n"""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench audit", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--shards", type=int, default=1_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    figures: dict[str, object] = {}
    with fresh_ledger() as ledger, psycopg.connect(ledger.url, autocommit=True) as owner:
        began = time.monotonic()
        for first in range(1, options.events + 1, CHUNK):
            last = min(first + CHUNK - 1, options.events)
            owner.execute(FILL, {"shards": options.shards, "first": first, "last": last})
        owner.execute("UPDATE notary_cursor SET published_seq = %s", (options.events,))
        owner.execute("ANALYZE audit_events")
        figures["filled, s"] = round(time.monotonic() - began, 1)
        figures["table with indexes, MB"] = ledger.ask("SELECT pg_total_relation_size('audit_events') / 1000000")
        for name in ("audit_events_posted_ranges", "audit_events_announced"):
            figures[f"{name}, MB"] = ledger.ask(f"SELECT pg_relation_size('{name}') / 1000000")
        ask(ledger.environ["DATABASE_URL_PROVER"], options.events, options.shards, figures)
        chain(ledger.environ, figures)
    ids(options.events, figures)
    show(figures, as_json=options.json)
    return 0


def ask(dsn: str, events: int, shards: int, figures: dict[str, object]) -> None:
    """What a prover asks of one shard, and of all."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        held = PostgresHeldRanges(connection)
        newest_no = events // 3 // shards
        numbers = [number * shards // QUESTIONS for number in range(QUESTIONS)]
        figures["chain_end, ms"] = each(lambda _: held.chain_end(), numbers)
        figures["chain_holds, ms"] = each(lambda n: held.chain_holds(events - n, "0" * 64), numbers)
        figures["chained, newest of a shard, ms"] = each(lambda n: held.chained(n, newest_no, 1_200), numbers)
        figures["chained, shard without ranges, ms"] = each(lambda n: held.chained(shards + n, 1, 1_200), numbers)
        figures["is_announced, ms"] = each(lambda n: held.is_announced(f"{n:064x}"), numbers)


def chain(environ: dict[str, str], figures: dict[str, object]) -> None:
    """What notary and exporter ask at each turn."""
    notary = PostgresAuditStore(environ["DATABASE_URL_NOTARY"])
    figures["notary: head, ms"] = each(lambda _: notary.head(), range(QUESTIONS))
    figures["notary: backlog, ms"] = each(lambda _: notary.backlog(), range(QUESTIONS))
    figures["notary: unpublished, ms"] = each(lambda _: notary.unpublished(200), range(QUESTIONS))
    notary.close()
    with psycopg.connect(environ["DATABASE_URL_ARCHIVER"], autocommit=True) as connection:
        store = PostgresAuditExportStore(connection)
        figures["exporter: due, ms"] = each(lambda _: store.due(5_000, 60.0), range(QUESTIONS))
        figures["exporter: 5,000 events, ms"] = each(lambda n: store.events(1 + n, 5_000 + n), range(5))


def ids(events: int, figures: dict[str, object]) -> None:
    """Whether an id stands twice among so many, as `verify audit` asks; memory of this whole process."""
    began = time.monotonic()
    held = EventIds()
    for number in range(events):
        held.add(pack_text(f"event-{number}"))
    repeated = sum(1 for _ in held.repeats())
    found = Collector()
    held.check(found)
    figures["ids compared, s"] = round(time.monotonic() - began, 1)
    figures["ids compared, at most MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
    figures["ids repeated, or beyond the limit"] = repeated + held.unchecked


def each(question: Callable[[int], object], numbers: Sequence[int]) -> float:
    """Milliseconds of one, on average."""
    began = time.monotonic()
    for number in numbers:
        question(number)
    return round((time.monotonic() - began) * 1000 / len(numbers), 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
