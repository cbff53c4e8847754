"""Which modules may run compiled to C, and whether their compiled twins were made from the sources beside them.

The modules of `HOT` are plain typed Python and run as they are; `python -m finance.workshop.compile` compiles the very
same files in place. Python prefers a compiled twin whatever it was made from: one of an older version would run its
rules. So compiling records the digest of each source and of what was made of it, and `stale` compares: no process
starts, and no test runs, with a twin of another source.
Does not: compile.
"""

from __future__ import annotations

import hashlib
import json
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("consumers", "finance", "ledger_core", "producers", "schemas")
SUFFIX: Final = sysconfig.get_config_var("EXT_SUFFIX") or ".so"
GROUP: Final = "finance_hot"
RECORD: Final = ROOT / f"{GROUP}.json"

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


def group_library() -> Path:
    """The library that holds the code of all twins."""
    return ROOT / f"{GROUP}__mypyc{SUFFIX}"


def write_record(sources: Sequence[str]) -> None:
    """Record what the twins of these sources, and their library, were made from."""
    made = {source: [_digest(ROOT / source), _digest(compiled(source))] for source in sources}
    RECORD.write_text(json.dumps({"library": _digest(group_library()), "twins": made}, indent=1) + "\n", "utf-8")


def stale() -> list[str]:
    """Compiled modules that were made from another source, that nothing is recorded of, or that `HOT` does not name
    (any more)."""
    found = twins()
    if not found:
        return []
    try:
        record = json.loads(RECORD.read_bytes())
        library, made = record["library"], record["twins"]
    except (OSError, ValueError, KeyError):
        library, made = None, {}
    current = {compiled(source): source for source in HOT}
    same_library = library is not None and library == _digest(group_library())
    return [
        str(twin.relative_to(ROOT))
        for twin in found
        if not same_library
        or twin not in current
        or made.get(current[twin]) != [_digest(ROOT / current[twin]), _digest(twin)]
    ]


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
