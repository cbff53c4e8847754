"""`python -m tests.bench [NAME ...]`: run the benches (all of them without a name) and print their figures.

Each bench is a module `bench_NAME.py` with `main(argv) -> int` and its own `--help`; give its options after `--`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

NAMES = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def main(argv: Sequence[str]) -> int:
    own, _, rest = " ".join(argv).partition(" -- ") if " -- " in " ".join(argv) else (" ".join(argv), "", "")
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=f"one of: {', '.join(NAMES)}")
    chosen = parser.parse_args(own.split()).names or NAMES
    failed = 0
    for name in chosen:
        print(f"== {name}", flush=True)
        failed |= int(importlib.import_module(f"tests.bench.bench_{name}").main(rest.split()))
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
