"""JSON that others wrote, with one reading: no key stands twice, and no value is NaN or Infinity (RFC 8259, section 6).

Most readers let the last of two equal keys win, silently: in a table of who may sign, that would hide a line.
Does not: ask for the one spelling of what we hash and sign (`ledger_core.canonical`).
"""

from __future__ import annotations

import json
from collections import Counter


def loads(data: bytes) -> object:
    """The data of one document in UTF-8. Raises ValueError."""
    try:
        document: object = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return document


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise ValueError(f"{name!r} stands there twice")
    return dict(pairs)


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
