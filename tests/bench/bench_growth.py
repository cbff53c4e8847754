"""That the cost of an event does not grow with the ledger: the posting rate at 0.1, 1 and 5 million entries.

    python -m tests.bench growth -- --sizes 100000,1000000,5000000

One ledger grows; at each size the rate of the next `--window` events is taken, with two posters on two shards.
Filling goes through the same posters, so that what is measured at 5 million got there by posting.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

from tests.bench.load import Ledger, fresh_ledger
from tests.bench.processor_time import measured

FILL_CHUNK = 250_000  # published ahead of the posters, so that the topic never holds much more than is posted


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench growth", description=__doc__)
    parser.add_argument("--sizes", default="100000,1000000,5000000")
    parser.add_argument("--window", type=int, default=200_000, help="events over which a rate is taken")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    figures: list[dict[str, float]] = []
    with fresh_ledger() as ledger:
        for number in range(2):
            ledger.start("poster", number)
        ledger.wait_owned(2, 2)
        done = 0
        for size in map(int, options.sizes.split(",")):
            while done < size:
                done += post(ledger, done, min(FILL_CHUNK, size - done), {})[0]
            used: dict[str, float] = {}
            posted, seconds = post(ledger, done, options.window, used)
            done += posted
            figures.append({"entries": size, "posted_per_second": posted / seconds, **used})
            if not options.json:
                parts = ", ".join(f"{name.removeprefix('cpu_us_per_event_')} {us:.1f}" for name, us in used.items())
                rate = posted / seconds
                print(f"at {size:>10,} entries: {rate:>10,.0f} settlements/s; us of processor: {parts}", flush=True)
    if options.json:
        print(json.dumps(figures))
    return 0


def post(ledger: Ledger, first: int, events: int, used: dict[str, float]) -> tuple[int, float]:
    """Publish while halted, resume, and time until the last of them is committed; processor time goes to `used`."""
    ledger.execute("INSERT INTO halts (reason, actor_id, trace_id) VALUES ('bench', 'operator:bench', '')")
    time.sleep(1.0)  # every poster has seen the flag
    ledger.publish(events, first=first)
    ledger.execute(
        "INSERT INTO halts_lifted (halt_no, reason, actor_id, trace_id) "
        "SELECT halt_no, 'bench', 'operator:bench', '' FROM halts "
        "WHERE halt_no NOT IN (SELECT halt_no FROM halts_lifted)"
    )
    began = time.monotonic()
    with measured(ledger.pids(), used, events):
        while ledger.ask("SELECT sum(next_offset) FROM shards") < first + events:
            if time.monotonic() - began > 900:
                raise TimeoutError("posting did not finish within 900 s")
            time.sleep(0.05)
    return events, time.monotonic() - began
