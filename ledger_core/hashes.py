"""The one spelling that a hash has here: 64 lower-case hex digits. Imports nothing, so that every extra may ask."""

from __future__ import annotations


def is_hash(text: object) -> bool:
    """True for the one spelling a hash has here: 64 lower-case hex digits (so `zz` and a one-byte hash are refused)."""
    return type(text) is str and len(text) == 64 and not text.strip("0123456789abcdef")


def parse_hash(text: object) -> bytes:
    """32 bytes from 64 lower-case hex digits. Raises ValueError for anything else."""
    if type(text) is not str or not is_hash(text):
        raise ValueError(f"{text!r} is not a hash of 64 lower-case hex digits")
    return bytes.fromhex(text)
