"""Unicode normal form C as every Python has the same opinion of it: that of Unicode 14.0.

A character's normalization never changes once it is assigned (Unicode's stability policy), but each version assigns new
ones, and each Python brings another version. A text with two new combining marks is in form C to the Python that does
not know them yet, and out of order to the next one: the same record would be posted here and rejected there (G5).
So what was assigned later and takes part in normalization counts as it did in 14.0, as a letter that nothing joins.

Guarantees: `is_nfc` answers the same on every Python whose Unicode version `_LATER` covers (14.0 to 18.0); a test fails
on one that is newer. Source: Unicode Standard Annex 15, and the character database.
Does not: say whether a character is assigned at all: a new emoji is a good text.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

RULES_VERSION: Final = "14.0.0"
INERT: Final = "\ufffd"  # no combining class, no decomposition, part of no composition, in every version

# Assigned after 14.0, with a combining class, a canonical decomposition, or a part in one; up to Unicode 18.0.
_LATER_RANGES: Final = """
05C8-05C9 0897 1ACF-1AF0 105C9 105D2 105DA 105E4 10D69-10D6D 10ECB-10ECF 10EF0-10EFB 10EFD-10EFF 11382-11385 1138B 1138E
11390-11391 113B8 113BB 113C2 113C5 113C7-113C9 113CE-113D0 11F41-11F42 1611E-16129 1612F 16D63 16D67-16D6A 1D127-1D128
1D250-1D252 1D25B-1D25C 1D25F 1D280-1D281 1E08F 1E4EC-1E4EF 1E5EE-1E5EF 1E6E3 1E6E6 1E6EE-1E6EF 1E6F5
"""


def _pattern(ranges: str) -> re.Pattern[str]:
    bounds = (part.partition("-") for part in ranges.split())
    classes = "".join(f"{chr(int(first, 16))}-{chr(int(last or first, 16))}" for first, _, last in bounds)
    return re.compile(f"[{classes}]")


LATER: Final = _pattern(_LATER_RANGES)
_IS_OURS: Final = unicodedata.unidata_version == RULES_VERSION


def is_nfc(text: str) -> bool:
    """Whether `text` is in normal form C of Unicode 14.0."""
    return unicodedata.is_normalized("NFC", text if _IS_OURS else as_of_the_rules(text))


def as_of_the_rules(text: str) -> str:
    """The text with everything that 14.0 did not know as inert as it was then."""
    return LATER.sub(INERT, text)
