"""Integers as text: sequences, offsets, amounts and tree sizes in records are decimal, in one spelling each.

At most 19 digits: a signed 64-bit integer of Postgres, Kafka and Avro has no more.
"""

from __future__ import annotations


def is_decimal(text: object) -> bool:
    """A text of ASCII digits without sign, blank or leading zero."""
    if not (isinstance(text, str) and text.isascii() and text.isdigit()):
        return False
    return len(text) < 20 and (text == "0" or text[0] != "0")


def parse_decimal(text: object) -> int:
    """The integer. Raises ValueError for anything that is not its one spelling."""
    if not is_decimal(text):
        raise ValueError(f"{text!r:.42} is not a decimal integer")
    return int(str(text))
