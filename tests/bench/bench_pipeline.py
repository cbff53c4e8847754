"""Whether everything together keeps up: every process, at a steady rate for minutes.

    python -m tests.bench pipeline -- --rate 5000 --seconds 300

Samples once a second how far each stage is behind the topic, and the memory of every process; ends with the lag of the
first and the last third of the run (it must not grow), the time from closing a range to its proof, and peak memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from typing import Any

import psutil
import psycopg
from psycopg import sql

from tests.bench.load import Ledger, fresh_ledger

LAGS = """
SELECT (SELECT coalesce(sum(next_offset), 0) FROM shards) AS posted,
       (SELECT coalesce(sum(next_offset), 0) FROM
          (SELECT DISTINCT ON (shard) next_offset FROM ranges JOIN proofs USING (shard, range_no)
            ORDER BY shard, range_no DESC) p) AS proved,
       (SELECT coalesce(sum(next_offset), 0) FROM
          (SELECT DISTINCT ON (ranges.shard) next_offset FROM ranges JOIN manifests m
               ON m.shard = ranges.shard AND m.manifest_no = ranges.range_no
            ORDER BY ranges.shard, range_no DESC) a) AS archived,
       (SELECT count(*) FROM audit_outbox) AS unnotarised"""
PROJECTION = "SELECT place FROM reading.projections WHERE asked"
PROJECTED = "SELECT coalesce(sum(seq), 0)::bigint FROM {}.shards"  # every event here is posted


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench pipeline", description=__doc__)
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--posters", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    with fresh_ledger() as ledger:
        for number in range(options.posters):
            ledger.start("poster", number)
        for name in ("prover", "archiver", "notary", "keeper", "projector"):
            ledger.start(name)
        ledger.wait_owned(2, options.posters)
        figures = run(ledger, options.rate, options.seconds)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:36} {value:>14,.1f}")
    return 0


def run(ledger: Ledger, rate: float, seconds: int) -> dict[str, float]:
    """Publish from a process of its own, and look once a second."""
    events = int(rate * seconds)
    began = time.monotonic()
    publishing = multiprocessing.Process(target=_publish, args=(ledger, events, rate))
    samples: list[tuple[float, int, int, int, int, int]] = []
    peaks: dict[str, int] = {}
    publishing.start()
    with psycopg.connect(ledger.url, autocommit=True) as connection:
        while time.monotonic() - began < seconds:
            time.sleep(1.0)
            row = connection.execute(LAGS).fetchone()
            assert row is not None
            posted, proved, archived, unnotarised = map(int, row)
            samples.append((time.monotonic() - began, posted, proved, archived, _projected(connection), unnotarised))
            for process in ledger.processes:
                name = process.args[-1]  # type: ignore[index]
                peaks[str(name)] = max(peaks.get(str(name), 0), psutil.Process(process.pid).memory_info().rss)
    publishing.join(60)
    third = len(samples) // 3
    figures: dict[str, float] = {"events": events, "rate_per_second": rate}
    for column, stage in ((1, "posted"), (2, "proved"), (3, "archived"), (4, "projected")):
        for label, part in (("first", samples[:third]), ("last", samples[-third:])):
            figures[f"{stage}_lag_records_{label}_third"] = statistics.fmean(
                max(0.0, moment * rate - sample[column]) for moment, *rest in part for sample in [(moment, *rest)]
            )
    figures["unnotarised_events_last_third"] = statistics.fmean(sample[5] for sample in samples[-third:])
    figures |= {f"{name}_rss_mb_max": peak / 1e6 for name, peak in sorted(peaks.items())}
    figures |= proof_times(ledger)
    return figures


def _projected(connection: psycopg.Connection[Any]) -> int:
    """Entries that the read side answers for."""
    found = connection.execute(PROJECTION).fetchone()
    if found is None:
        return 0  # the projector makes it when it starts
    row = connection.execute(sql.SQL(PROJECTED).format(sql.Identifier(found[0]))).fetchone()
    return int(row[0]) if row else 0


def proof_times(ledger: Ledger) -> dict[str, float]:
    """Seconds from the closing of a range to its published proof."""
    with psycopg.connect(ledger.url) as connection:
        row = connection.execute(
            "SELECT count(*), percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM signed_at - closed_at)) "
            "FROM ranges JOIN proofs USING (shard, range_no)"
        ).fetchone()
    assert row is not None
    return {"proofs": float(row[0]), "proof_seconds_p95": float(row[1] or 0)}


def _publish(ledger: Ledger, events: int, rate: float) -> None:
    ledger.processes = []  # the parent's to stop
    ledger.publish(events, rate=rate)
