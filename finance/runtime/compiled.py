"""Which modules may run compiled to C, and whether their compiled twins are as new as their sources.

The modules of `HOT` are plain typed Python and run as they are; `python -m finance.workshop.compile` compiles the very
same files in place. Python prefers a compiled twin even when it is older than its source: `stale` finds those.
Does not: compile.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SUFFIX: Final = sysconfig.get_config_var("EXT_SUFFIX") or ".so"

# The Makefile reads this list: one path a line.
HOT: Final = (
    "consumers/posting/decision.py",
    "ledger_core/books/balance.py",
    "ledger_core/posting/entry_bytes.py",
    "ledger_core/postgres/posting/copy_binary.py",
    "ledger_core/posting/rules.py",
    "ledger_core/posting/sequencing.py",
    "ledger_core/times.py",
    "schemas/wire/journal.py",
    "schemas/wire/outcomes.py",
    "schemas/wire/settlements.py",
    "schemas/wire/avro.py",
)


def compiled(source: str) -> Path:
    """Where the compiled twin of a module lies."""
    return (ROOT / source).with_suffix(SUFFIX)


def stale() -> list[str]:
    """Modules whose compiled twin is older than their source."""
    twins = {source: compiled(source) for source in HOT}
    return [
        source
        for source, twin in twins.items()
        if twin.exists() and twin.stat().st_mtime < (ROOT / source).stat().st_mtime
    ]
