"""What each process uses and logs while a server is away: it must wait, not spin, and must not flood its log.

    python -m tests.bench outages -- --seconds 60

One outage a server, under 500 settlements a second. Figures: share of one core, log lines a second, and those of them
above level info. A busy loop takes a whole core; the poster logs a line a batch, at most twenty a second and shard.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from finance.workshop.devstack import Stack
from tests.bench.figures import show
from tests.support.outages import ledger_on, server_away

ROOT = Path(__file__).parents[2]
SERVERS = {"kms": True, "s3": True, "kafka": False, "postgres": True}  # whether it is killed; else it is stopped


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench outages", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each server is away")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    stack = Stack.up("bench-outages", ROOT / ".finance", say=lambda _text: None)
    figures: dict[str, object] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            ledger = ledger_on(stack, "outages.", Path(folder))
            try:
                processes = ledger.start_all()
                for server, crash in SERVERS.items():
                    with server_away(
                        stack, ledger, processes, server, crash=crash, seconds_min=options.seconds
                    ) as outage:
                        pass
                    figures |= {f"{server}_{name}": round(value, 2) for name, value in outage.figures.items()}
                    outage.check_recovered()
            finally:
                ledger.end()
    finally:
        stack.remove()
    show(figures, as_json=options.json)
    return 0
