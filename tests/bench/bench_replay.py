"""How fast the settlements topic becomes a ledger again, and with how much memory.

    python -m tests.bench replay -- --entries 1000000

Measured: `finance replay --from topic --into` of an empty database, as an operator runs it: two shards, a worker
process each, fsync and synchronous_commit on, three-line settlements; broker and database share the machine. Then the
comparison by the oracle. Processor time is of the workers, and with Postgres and broker; memory is the largest of one
process of the tree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Sequence

import psutil

from tests.bench.load import ROOT, fresh_ledger
from tests.bench.processor_time import tree_seconds
from tests.support import databases
from tests.support.replay_runs import empty_database


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench replay", description=__doc__)
    parser.add_argument("--entries", type=int, default=300_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    with fresh_ledger() as ledger:
        ledger.publish(options.entries)
        server = ledger.stack.env["DATABASE_URL"]
        target = empty_database(server, f"bench_{uuid.uuid4().hex[:12]}")
        try:
            pids = ledger.pids()
            figures = replay(ledger.environ, target, [*pids["postgres"], *pids["broker"]])
        finally:
            databases.drop_database(server, target)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:32} {value:>14,.1f}")
    return 0


def replay(environ: dict[str, str], target: str, servers: list[int]) -> dict[str, float]:
    """Run it, and look at its processes meanwhile."""
    command = [sys.executable, "-m", "finance", "replay", "--from", "topic", "--into", target]
    before = sum(map(tree_seconds, servers))
    running = subprocess.Popen(
        [*command, "--compare", "nothing", "--json"], cwd=ROOT, env=environ, stdout=subprocess.PIPE
    )
    watch = _Watch(running.pid, servers)
    watching = threading.Thread(target=watch.run)
    watching.start()
    out, _ = running.communicate()
    watch.ended.set()
    watching.join()
    told = json.loads(out)
    assert told["ok"], told
    entries = told["counts"]["entries"]
    workers = sum(watch.worker_seconds.values()) / entries * 1e6
    return {
        "entries": entries,
        "replay_seconds": told["seconds"],
        "entries_per_second": entries / told["seconds"],
        "compare_seconds": told["compare_seconds"],
        "cpu_us_per_entry_workers": workers,
        "cpu_us_per_entry": workers + (watch.server_seconds - before) / entries * 1e6,
        "rss_mb_max": max(watch.peaks.values(), default=0) / 1e6,
    }


class _Watch:
    """The workers' memory and processor time, and the servers' while there are workers."""

    def __init__(self, pid: int, servers: list[int]) -> None:
        self.ended = threading.Event()
        self.peaks: dict[int, int] = {}
        self.worker_seconds: dict[int, float] = {}
        self.server_seconds = 0.0
        self._pid = pid
        self._servers = servers

    def run(self) -> None:
        while not self.ended.wait(0.2):
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(self._pid)
                workers = parent.children(recursive=True)
                for process in (parent, *workers):
                    self.peaks[process.pid] = max(self.peaks.get(process.pid, 0), process.memory_info().rss)
                for process in workers:
                    times = process.cpu_times()
                    self.worker_seconds[process.pid] = times.user + times.system
                if workers:
                    self.server_seconds = sum(map(tree_seconds, self._servers))
