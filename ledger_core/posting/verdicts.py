"""The verdict line: what is proved and archived of an offset that posted nothing (G3, docs/FORMATS.md). Pure.

One line is canonical JSON; `offset` is a decimal integer as text; `content_hash` is lower-case hex: SHA-256 of the
canonical content when the event was well-formed, of the record's value otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from ledger_core.books.event_rules import is_uuid
from ledger_core.canonical import is_hash
from ledger_core.decimals import is_decimal
from ledger_core.errors import RejectReason
from ledger_core.posting.plans import VerdictKind

# Reasons of offsets of which nothing was read: such a verdict names no event id and no content.
NOTHING_READ: Final = frozenset({RejectReason.NO_RECORD.value, RejectReason.UNREADABLE.value})
ALREADY_POSTED: Final = "already_posted"  # the one reason of a duplicate
_REASONS: Final = frozenset(reason.value for reason in RejectReason)
_OF_AN_EVENT_ID: Final = frozenset({RejectReason.CONFLICT.value, RejectReason.UNKNOWN_REVERSAL.value})


class VerdictLine(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """Fields in key order, so that encoding is canonical."""

    content_hash: str | None = None  # SHA-256, lower-case hex, of what was asked
    event_id: str | None = None  # as far as it could be read
    offset: str  # settlements offset, decimal text
    reason: str  # code of a rejection, or what a duplicate repeats
    verdict: VerdictKind  # kind of the verdict


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(VerdictLine)

encode_verdict = _encoder.encode
"""VerdictLine -> canonical bytes, without a line end."""


def decode_verdict(data: bytes) -> VerdictLine:
    """Canonical bytes -> VerdictLine. Raises ValueError for anything that does not encode back to the same bytes."""
    line = _decoder.decode(data)
    if _encoder.encode(line) != data:
        raise ValueError("verdict line is not in canonical form")
    return line


def check_verdict(line: VerdictLine) -> None:
    """Raise ValueError for a verdict that posting cannot have given."""
    if not is_decimal(line.offset):
        raise ValueError("offset is not a decimal integer")
    if line.verdict == "rejected" and line.reason not in _REASONS:
        raise ValueError(f"{line.reason[:64]!r} is not the reason of a rejection")
    if line.verdict == "duplicate" and line.reason != ALREADY_POSTED:
        raise ValueError(f"{line.reason[:64]!r} is not the reason of a duplicate")
    if line.reason in NOTHING_READ:
        if line.event_id is not None or line.content_hash is not None:
            raise ValueError("an offset of which nothing was read has neither event_id nor content_hash")
    elif line.content_hash is None:
        raise ValueError("content_hash is missing: something was asked")
    if line.event_id is None and (line.verdict == "duplicate" or line.reason in _OF_AN_EVENT_ID):
        raise ValueError("event_id is missing: the verdict rests on it")
    if line.event_id is not None and not is_uuid(line.event_id):
        raise ValueError("event_id is not a lower-case uuid")
    if line.content_hash is not None and not is_hash(line.content_hash):
        raise ValueError("content_hash is not 64 lower-case hex digits")


def verdicts_hash(lines: Iterable[bytes]) -> bytes:
    """SHA-256 over verdict lines in order of offset, each ended by LF; of nothing when there are none."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
        digest.update(b"\n")
    return digest.digest()
