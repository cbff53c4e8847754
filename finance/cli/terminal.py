"""Words of others on an operator's terminal: they can name no colour, clear no screen and write no line of ours.

Guarantees: no control character but the line feeds of our own words reaches the terminal: it is spelled (`\\x1b`).
"""

from __future__ import annotations

import re
from typing import Final

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def printable(text: str) -> str:
    """The text with its control characters, and those that nobody sees or that turn what is written, spelled."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """The same of words that stand in a line of ours: they begin no line."""
    return printable(text).replace("\n", r"\n").replace("\t", r"\t")
