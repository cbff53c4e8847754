"""How long a poster that froze holds up whoever comes after it.

    python -m tests.bench takeover -- --freezes 200

One poster process under load is stopped (SIGSTOP) at random moments; from then on a second session asks for what a
successor needs: the rows of both shards, and the lock that lets no other shard post. Measured: the seconds until it has
each of them. Then the poster goes on, finds what it lost, and works again. Ends with the oracle.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import threading
import time
from collections.abc import Sequence

from ledger_core.errors import Unavailable
from ledger_core.postgres.posting.poster_store import PosterStore
from ledger_core.posting.store_port import Fenced
from tests.bench.load import Ledger, fresh_ledger
from tests.support.posting_runs import check_ledger

BATCH_EVENTS = 2000
AHEAD_EVENTS_MAX = 40_000
SHARDS = (0, 1)
STATE = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'finance-poster'"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench takeover", description=__doc__)
    parser.add_argument("--freezes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    with fresh_ledger() as ledger:
        figures = takeover(ledger, options.freezes, random.Random(options.seed))
        check_ledger(ledger.url)
    print(json.dumps(figures) if options.json else "\n".join(f"{name:32} {it:>14,.3f}" for name, it in figures.items()))
    return 0


def takeover(ledger: Ledger, freezes: int, chance: random.Random) -> dict[str, float]:
    """Freeze, take over, thaw, so many times."""
    ledger.start("poster")
    ledger.wait_owned(len(SHARDS), 1)
    done = threading.Event()
    feeding = threading.Thread(target=_feed, args=(ledger, done))
    feeding.start()
    seconds: list[float] = []
    stood = {"active": 0, "idle in transaction": 0}
    try:
        for _ in range(freezes):
            _wait_posting(ledger)
            time.sleep(chance.random() * 0.5)
            ledger.processes[0].send_signal(signal.SIGSTOP)
            began = time.monotonic()
            state = str(ledger.ask(STATE))
            if state in stood:
                stood[state] += 1
            _take_both(ledger)
            seconds.append(time.monotonic() - began)
            ledger.processes[0].send_signal(signal.SIGCONT)
    finally:
        ledger.processes[0].send_signal(signal.SIGCONT)
        done.set()
        feeding.join()
    seconds.sort()
    return {
        "freezes": len(seconds),
        "in_a_statement": stood["active"],
        "between_two_statements": stood["idle in transaction"],
        "takeover_p50_seconds": seconds[len(seconds) // 2],
        "takeover_p99_seconds": seconds[min(len(seconds) - 1, len(seconds) * 99 // 100)],
        "takeover_max_seconds": seconds[-1],
    }


def _feed(ledger: Ledger, done: threading.Event) -> None:
    published = 0
    while not done.is_set():
        if published - int(ledger.ask("SELECT coalesce(sum(next_offset), 0) FROM shards")) < AHEAD_EVENTS_MAX:
            ledger.publish(BATCH_EVENTS, first=published, mix=True)
            published += BATCH_EVENTS
        else:
            time.sleep(0.1)


def _wait_posting(ledger: Ledger) -> None:
    """Until the poster has gone on since the freeze before."""
    before = ledger.ask("SELECT coalesce(sum(next_offset), 0) FROM shards")
    deadline = time.monotonic() + 60
    while ledger.ask("SELECT coalesce(sum(next_offset), 0) FROM shards") == before:
        if time.monotonic() > deadline:
            raise TimeoutError("the poster did not go on within 60 s")
        time.sleep(0.02)


def _take_both(ledger: Ledger) -> None:
    """What a successor of both shards waits for; the transactions write nothing."""
    store = PosterStore(ledger.environ["DATABASE_URL_POSTER"])
    try:
        for shard in SHARDS:
            while True:
                try:
                    with store.batch(store.open_shard(shard, f"{ledger.prefix}finance.settlements"), alone=True):
                        break
                except (Fenced, Unavailable):
                    continue
    finally:
        store.close()
