"""The one spelling that a hash has: 64 lower-case hex digits, and padded base64 in the notes and proofs of C2SP.

Imports nothing of ours, so that every extra may ask."""

from __future__ import annotations

import base64
import binascii


def is_hash(text: object) -> bool:
    """True for the one spelling a hash has here: 64 lower-case hex digits (so `zz` and a one-byte hash are refused)."""
    return type(text) is str and len(text) == 64 and not text.strip("0123456789abcdef")


def parse_hash(text: object) -> bytes:
    """32 bytes from 64 lower-case hex digits. Raises ValueError for anything else."""
    if type(text) is not str or not is_hash(text):
        raise ValueError(f"{text!r} is not a hash of 64 lower-case hex digits")
    return bytes.fromhex(text)


def parse_base64_hash(text: object) -> bytes:
    """32 bytes from their padded base64 (RFC 4648, section 4). Raises ValueError for anything else."""
    try:
        digest = base64.b64decode(text if type(text) is str else "", validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 32 or base64.b64encode(digest).decode("ascii") != text:  # stray bits of the last digit
        raise ValueError("a hash is not 32 bytes in the one spelling of base64")
    return digest
