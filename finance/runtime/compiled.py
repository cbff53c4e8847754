"""Which modules may run compiled to C, and whether their compiled twins are as new as their sources.

The modules of `HOT` are plain typed Python and run as they are; `python -m finance.workshop.compile` compiles the very
same files in place. Python prefers a compiled twin even when it is older than its source, or when the module is not
compiled any more: `stale` finds those.
Does not: compile.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("consumers", "finance", "ledger_core", "producers", "schemas")
SUFFIX: Final = sysconfig.get_config_var("EXT_SUFFIX") or ".so"

# A module stands here when interpreting it alone would slow the Python of posting by a tenth or more (measured by
# `python -m tests.bench compiled`). The Makefile reads this list: one path a line.
HOT: Final = (
    "schemas/wire/avro.py",
    "schemas/wire/settlements.py",
)


def compiled(source: str) -> Path:
    """Where the compiled twin of a module lies."""
    return (ROOT / source).with_suffix(SUFFIX)


def twins() -> list[Path]:
    """Every compiled module there is, those of an earlier `HOT` included."""
    return [twin for package in PACKAGES for twin in sorted((ROOT / package).rglob(f"*{SUFFIX}"))]


def stale() -> list[str]:
    """Compiled modules that are older than their source, or that `HOT` does not name (any more)."""
    current = {compiled(source): ROOT / source for source in HOT}
    return [
        str(twin.relative_to(ROOT))
        for twin in twins()
        if twin not in current or twin.stat().st_mtime < current[twin].stat().st_mtime
    ]
