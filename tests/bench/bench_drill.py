"""The recovery drills on a ledger of so many made-up events, each way with its seconds and how far it was behind.

    make drill
    make drill DRILL_ARGS="--events 1000000 --keep drills/"

A stack of its own: events are published, posted, proved, archived and put on the audit chain while WAL is streamed; a
base backup is taken half-way; then `finance drill all`. Among the events are some of a bad day (repeats, conflicts,
what cannot be posted, event ids that came to two shards), so that there are verdicts to compare. Exit 1 when a drill
finds something.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finance.workshop.devstack import Stack
from tests.support.backups import finance, lsn, streaming, until_stored
from tests.support.mixed_events import mixed
from tests.support.posting_runs import publish
from tests.support.replay_runs import spread

ROOT = Path(__file__).parents[2]
STATE_ROOT = ROOT / ".finance"
EVENTS_MAX = 5_000_000
BAD_DAY_RECORDS = 4_000  # of each half at most: more would halt posting (poster_dead_letters_max)


def drill(events: int, up: Stack) -> dict[str, Any]:
    """A ledger of so many events, and what `finance drill all` says of it."""
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    environ = {**inherited, **up.env}
    for command in (("migrate",), ("topics", "apply")):
        finance(environ, *command)
    with streaming(environ):
        bad = min(BAD_DAY_RECORDS, events // 4)
        for part, seed in ((events // 2, "1"), (events - events // 2, "2")):
            finance(environ, "publish", "--synthetic", str(part - bad), "--seed", seed)
            publish(environ, spread(bad, 1) if seed == "1" else mixed(bad, 2, first=bad))
            finance(environ, "run", "all", "--until-idle")
            if seed == "1":
                finance(environ, "backup", "create")
        finance(environ, "audit", "export")
        until_stored(environ, lsn(environ["DATABASE_URL"]))
    drill = [sys.executable, "-m", "finance", "drill", "all", "--report", str(up.place.path / "drills"), "--json"]
    told = subprocess.run(drill, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert told.returncode in (0, 1), told.stdout + told.stderr
    return dict(json.loads(told.stdout))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench_drill", description=__doc__.split("\n\n")[0])
    parser.add_argument("--events", type=int, default=100_000, choices=range(2, EVENTS_MAX + 1), metavar="N")
    parser.add_argument("--keep", type=Path, help="put the report there")
    options = parser.parse_args(argv)
    up = Stack.up(f"bench-drill-{os.getpid()}", STATE_ROOT, say=lambda _line: None)
    try:
        told = drill(options.events, up)
        if options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            for path in (told["report"], told["page"]):
                shutil.copy(path, options.keep)
    finally:
        up.remove()
    for way in told["ways"]:
        behind = sum(int(shard["behind_entries"]) for shard in way["shards"])
        print(f"{way['way']:8} {'sound' if way['sound'] else 'FINDINGS':9} behind {behind} entries")
        print(f"  {', '.join(f'{int(count):,} {what}' for what, count in way['counts'].items())}")
        for step in way["steps"]:
            seconds = int(step["milliseconds"]) / 1000
            rate = f"{int(step['done']) / seconds:12,.0f} {step['unit']}/s" if seconds and step["unit"] else ""
            print(f"  {step['phase']:8} {seconds:8.1f} s {rate:32} {step['name']}")
        for finding in way["findings"]:
            print(f"  {finding['code']}: {finding['message']}")
    return 0 if told["ok"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
