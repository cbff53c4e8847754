"""The page, put together from its parts: what `finance verify page` writes, and what a bundle holds.

Guarantees: the same parts give the same bytes, and the page's own policy names the one script and the one style that
may run, by digest. Does not: check anything of a ledger; what the page does is in `parts/`, and none of it is a port of
the Python verifier.
"""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
SCHEMAS: Final = FOLDER.parents[1] / "schemas" / "json"
NAMES: Final = (
    *("audit_batch_metadata", "audit_event", "bundle", "consistency"),
    *("journal_entry", "manifest", "personal_opening", "range_proof", "verdict_line"),
)
UNICODE: Final = "14.0.0"  # docs/FORMATS.md, canonical JSON
TABLE: Final = FOLDER / "unassigned.txt"


def _part(path: Path) -> str:
    return path.read_text("utf-8").rstrip("\n")


def unassigned() -> str:
    """What Unicode 14.0 has no character for: gap and length of each run, in base 36. Raises
    ValueError when this Python knows another version."""
    if unicodedata.unidata_version != UNICODE:
        raise ValueError(f"this Python knows Unicode {unicodedata.unidata_version}, and the table is that of {UNICODE}")
    runs: list[int] = [0]
    known = True
    for code in range(0x110000):
        if (unicodedata.category(chr(code)) != "Cn") is known:
            runs[-1] += 1
        else:
            known = not known
            runs.append(1)
    return " ".join(_base36(number) for number in runs)


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
        if number == 0:
            return digits


def _script() -> str:
    """The page's script: the worker's as one function, then what stands in the page."""
    schemas = {name: json.loads(_part(SCHEMAS / f"{name}.v1.schema.json")) for name in NAMES}
    parts = sorted((FOLDER / "parts").glob("*.js"))
    inside = "\n\n".join(_part(path) for path in parts if path.name < "20")
    inside = inside.replace('"@@SCHEMAS@@"', json.dumps(schemas, sort_keys=True, separators=(",", ":")))
    inside = inside.replace("@@UNASSIGNED@@", _part(TABLE))
    outside = "\n\n".join(_part(path) for path in parts if path.name >= "20")
    return f'\n"use strict";\n\nfunction verifier(scope) {{\n{inside}\n}}\n\n{outside}\n'


def _source(text: str) -> str:
    """How a policy names an inline script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page_bytes() -> bytes:
    """The bytes of verify.html."""
    script, style = _script(), "\n" + _part(FOLDER / "page.css") + "\n"
    page = _part(FOLDER / "page.html") + "\n"
    filled = {"SCRIPT_HASH": _source(script), "STYLE_HASH": _source(style), "STYLE": style, "SCRIPT": script}
    for name, text in filled.items():
        page = page.replace(f"@@{name}@@", text)
    return page.encode()
