"""What each compiled module is worth: the Python of posting with all of them, with none, and with all but one.

    python -m tests.bench compiled [-- --candidate ledger_core/times.py ...]

Measured: processor time an event of the Python of posting (tests/bench/hot_path.py), each variant built in a copy of
the packages and run in turn, round by round, so that a busy machine slows all of them alike; the least of the rounds
counts. A module that gains under a tenth of it has no place in `HOT` (docs/decisions, 078).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from finance.settings.compiled import HOT
from tests.bench.load import ROOT

PACKAGES: Final = ("consumers", "finance", "ledger_core", "producers", "schemas", "tests")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench compiled", description=__doc__)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--candidate", action="append", default=[], metavar="FILE", help="try this one besides")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    variants = (
        {"as it is": list(HOT), "none": []}
        | {f"without {source}": [other for other in HOT if other != source] for source in HOT}
        | {f"with {source}": [*HOT, source] for source in options.candidate}
    )
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, compiled) in enumerate(variants.items()):
            _variant(Path(scratch) / str(number), compiled)
            sys.stderr.write(f"built: {name}\n")
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
        for _ in range(options.rounds):
            for number, name in enumerate(variants):
                runs[name].append(_run(Path(scratch) / str(number), options.events))
    least = {name: {part: min(run[part] for run in several) for part in several[0]} for name, several in runs.items()}
    if options.json:
        print(json.dumps(least))
        return 0
    base = least["as it is"]["total"]
    print(f"{'us an event':60}" + "".join(f"{part:>10}" for part in least["as it is"]) + f"{'ratio':>8}")
    for name, parts in least.items():
        print(f"{name:60}" + "".join(f"{us:10.2f}" for us in parts.values()) + f"{parts['total'] / base:8.3f}")
    return 0


def _variant(place: Path, compiled: Sequence[str]) -> None:
    """A copy of the packages with these modules compiled."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, place / package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(ROOT / "topology.yaml", place)
    if compiled:
        _python(place, "finance.workshop.compile", *compiled)


def _run(place: Path, events: int) -> dict[str, float]:
    figures: dict[str, float] = json.loads(_python(place, "tests.bench.hot_path", "--events", str(events)))
    return figures


def _python(place: Path, module: str, *options: str) -> str:
    env = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run(
        [sys.executable, "-m", module, *options], cwd=place, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(options)}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
