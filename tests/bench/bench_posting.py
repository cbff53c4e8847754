"""How fast settlements are posted, against what the database could do at most.

    python -m tests.bench posting -- --events 300000

Measured: from Kafka to committed in Postgres, one poster process a shard, two shards, relay and outcomes on, fsync and
synchronous_commit on, three-line settlements, a payable drawn from 100,000 sellers, with refunds, disputes, duplicates
and rejections between them (`--no-mix`: sales alone); broker, database and posters share the machine. The same run then
writes the very same rows (entries, lines, accounts), in the same batches, by raw binary COPY over one connection into
fresh tables with the same indexes: with their triggers, and without.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence

import psycopg

from tests.bench.load import Ledger, fresh_ledger, records
from tests.bench.processor_time import measured, tree_seconds
from tests.support import databases


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench posting", description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--posters", type=int, default=2)
    parser.add_argument("--latency-seconds", type=float, default=20.0, help="how long to run at half the rate")
    parser.add_argument(
        "--mix",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="refunds, disputes, duplicates and rejections between the sales (tests/bench/mix.py)",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    with fresh_ledger() as ledger:
        figures = posting(ledger, options.events, options.posters, mix=options.mix)
        figures |= raw_copy(ledger)
        figures["of_raw_copy"] = figures["posted_per_second"] / figures["raw_copy_per_second"]
        if options.latency_seconds:
            figures |= latency(
                ledger, options.events, figures["posted_per_second"] / 2, options.latency_seconds, options.mix
            )
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:32} {value:>14,.3f}" if isinstance(value, float) else f"{name:32} {value:>14,}")
    return 0


def posting(ledger: Ledger, events: int, posters: int, *, mix: bool) -> dict[str, float]:
    """Publish everything while halted, let each poster own its shards, resume, and time until the last commit."""
    ledger.execute("INSERT INTO halts (reason, actor_id, trace_id) VALUES ('bench', 'operator:bench', '')")
    logs = [ledger.start("poster", number) for number in range(posters)]
    ledger.publish(events, mix=mix)
    ledger.wait_owned(2, posters)
    ledger.execute(
        "INSERT INTO halts_lifted (halt_no, reason, actor_id, trace_id) "
        "SELECT halt_no, 'bench', 'operator:bench', '' FROM halts "
        "WHERE halt_no NOT IN (SELECT halt_no FROM halts_lifted)"
    )
    began = time.monotonic()
    used: dict[str, float] = {}
    with measured(ledger.pids(), used, events):
        while ledger.ask("SELECT coalesce(sum(next_offset), 0) FROM shards") < events:
            if time.monotonic() - began > 600:
                raise TimeoutError("posting did not finish within 600 s")
            time.sleep(0.1)
    batches = [line for log in logs for line in records(log) if line.get("event") == "poster.batch"]
    first = float(min(_epoch(b["timestamp"]) - b["seconds"] for b in batches))
    last = float(max(_epoch(b["timestamp"]) for b in batches))
    committing = sum(b["seconds"] for b in batches)
    return {
        "events": events,
        "batches": len(batches),
        "rejected": sum(line["rejected"] for line in batches),
        "duplicates": sum(line["duplicates"] for line in batches),
        "posted_per_second": events / (last - first),
        "commit_path_per_second_per_shard": events / committing,
        **used,
    }


def _epoch(text: str) -> float:
    import datetime as dt

    return dt.datetime.fromisoformat(text).timestamp()


def raw_copy(ledger: Ledger) -> dict[str, float]:
    """The same rows in the same batches by raw COPY over one connection; only the writing is timed."""
    template = databases.ensure_template(ledger.stack.env["DATABASE_URL"])
    result: dict[str, float] = {}
    for label, role in (("raw_copy", "origin"), ("raw_copy_without_triggers", "replica")):
        target = databases.create_database(ledger.stack.env["DATABASE_URL"], template)
        seconds, processor, rows = 0.0, 0.0, 0
        with psycopg.connect(ledger.url) as source, psycopg.connect(target, autocommit=True) as writer:
            writer.execute(f"SET session_replication_role = {role}")
            backend = writer.info.backend_pid
            for xid, shard, low, high in _batches(source):
                data = {
                    table: _binary(source, f"{table} WHERE shard = {shard} AND {key}")
                    for table, key in (
                        ("accounts", f"xmin = '{xid}' ORDER BY account_no"),
                        ("lines", f"seq BETWEEN {low} AND {high} ORDER BY seq, line_no"),
                        ("entries", f"seq BETWEEN {low} AND {high} ORDER BY seq"),
                    )
                }
                began, used = time.monotonic(), tree_seconds(backend)
                with writer.transaction():
                    for table, rows_binary in data.items():
                        with writer.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
                            copy.write(rows_binary)
                seconds += time.monotonic() - began
                processor += tree_seconds(backend) - used
                rows += high - low + 1
        databases.drop_database(ledger.stack.env["DATABASE_URL"], target)
        result[f"{label}_per_second"] = rows / seconds
        result[f"{label}_cpu_us_per_event_backend"] = processor / rows * 1e6
    return result


def _batches(source: psycopg.Connection[tuple[object, ...]]) -> Iterator[tuple[str, int, int, int]]:
    """The batches as they were committed: entries of one transaction share their xmin."""
    return iter(
        source.execute(  # type: ignore[arg-type]
            "SELECT xmin::text, shard, min(seq), max(seq) FROM entries GROUP BY 1, 2 ORDER BY min(seq), shard"
        ).fetchall()
    )


def _binary(source: psycopg.Connection[tuple[object, ...]], rows: str) -> bytes:
    with source.cursor().copy(f"COPY (SELECT * FROM {rows}) TO STDOUT (FORMAT binary)") as copy:
        return b"".join(bytes(part) for part in copy)


def latency(ledger: Ledger, first: int, rate: float, seconds: float, mix: bool) -> dict[str, float]:
    """Publish at `rate` and take, for every event, the age of the oldest record of its batch at commit: no event took
    longer than that. The server first writes out what the phases before left: that is not this load's."""
    ledger.execute("CHECKPOINT")
    seen = {log: len(list(records(log))) for log in ledger.logs.glob("poster-*.jsonl")}
    count = int(rate * seconds)
    ledger.publish(count, first=first, rate=rate, mix=mix)
    while ledger.ask("SELECT sum(next_offset) FROM shards") < first + count:
        time.sleep(0.1)
    ages: list[tuple[float, int]] = []
    for log, skip in seen.items():
        for line in list(records(log))[skip:]:
            if line.get("event") == "poster.batch":
                ages.append((line["latency_seconds"], line["posted"]))
    ages.sort()
    total = sum(n for _, n in ages)
    return {
        "latency_events_per_second": rate,
        "latency_p50_ms": _quantile(ages, total * 0.50) * 1000,
        "latency_p99_ms": _quantile(ages, total * 0.99) * 1000,
        "latency_max_ms": ages[-1][0] * 1000,
    }


def _quantile(ages: list[tuple[float, int]], rank: float) -> float:
    passed = 0
    for age, count in ages:
        passed += count
        if passed >= rank:
            return age
    return ages[-1][0]
