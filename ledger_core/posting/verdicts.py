"""The verdict line: what is proved and archived of an offset that posted nothing (G3, docs/FORMATS.md). Pure.

One line is canonical JSON; `offset` is a decimal integer as text; `content_hash` is lower-case hex: SHA-256 of the
canonical content when the event was well-formed, of the record's value otherwise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from ledger_core.books.event_rules import is_uuid
from ledger_core.decimals import is_decimal
from ledger_core.errors import RejectReason
from ledger_core.hashes import is_hash
from ledger_core.posting.plans import VerdictKind

# Reasons of offsets of which nothing was read: such a verdict names no event id and no content.
NOTHING_READ: Final = frozenset({RejectReason.NO_RECORD.value, RejectReason.UNREADABLE.value})
ALREADY_POSTED: Final = "already_posted"  # the one reason of a duplicate
_ACTIVATION: Final = re.compile(r"rules_([2-9]|[1-9][0-9]{1,8})")  # of a control record that counted: rules in force
DETAIL_CHARS_MAX: Final = 1000
# Control characters, signs that change the direction of a line, line and paragraph ends, surrogates, private use.
_UNPLAIN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\uf8ff\ufeff\ufff0-\uffff\U000e0000-\U0010ffff]"
)
_REASONS: Final = frozenset(reason.value for reason in RejectReason)
_OF_AN_EVENT_ID: Final = frozenset({RejectReason.CONFLICT.value, RejectReason.UNKNOWN_REVERSAL.value})


def for_people(detail: str) -> str:
    """A verdict's detail as it is kept and shown: a publisher's own words may stand in it, and columns, headers and
    terminals do not take every character, or any number. It is proved nowhere, and the same on every machine."""
    escaped = _UNPLAIN.sub(lambda found: f"\\u{ord(found[0]):04x}", detail[:DETAIL_CHARS_MAX])
    return escaped if len(escaped) < DETAIL_CHARS_MAX else escaped[: DETAIL_CHARS_MAX - 1] + "…"


def activation_reason(rules: int) -> str:
    """The reason at the offset of the control record that put these rules in force."""
    return f"rules_{rules}"


def activated_rules(reason: str) -> int | None:
    """The rules that a verdict's reason put in force behind its offset; None when it is another reason."""
    match = _ACTIVATION.fullmatch(reason)
    return None if match is None else int(match[1])


class VerdictLine(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """Fields in key order, so that encoding is canonical."""

    content_hash: str | None = None  # SHA-256, lower-case hex, of what was asked
    event_id: str | None = None  # as far as it could be read
    key_sha256: str | None = None  # SHA-256, lower-case hex, of the record's key; None where it had none
    offset: str  # settlements offset, decimal text
    reason: str  # code of a rejection, or what a duplicate repeats
    value_sha256: str | None = None  # SHA-256, lower-case hex, of the record's value; None where it had none
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
    activates = activated_rules(line.reason) is not None
    if line.verdict == "rejected" and line.reason not in _REASONS and not activates:
        raise ValueError(f"{line.reason[:64]!r} is not the reason of a rejection")
    if line.verdict == "duplicate" and line.reason != ALREADY_POSTED:
        raise ValueError(f"{line.reason[:64]!r} is not the reason of a duplicate")
    if line.reason in NOTHING_READ:
        if (line.event_id, line.content_hash, line.key_sha256, line.value_sha256) != (None,) * 4:
            raise ValueError("an offset of which nothing was read has no event_id, and no hash of anything")
    elif line.content_hash is None:
        raise ValueError("content_hash is missing: something was asked")
    if line.event_id is None and (line.verdict == "duplicate" or line.reason in _OF_AN_EVENT_ID):
        raise ValueError("event_id is missing: the verdict rests on it")
    if line.verdict == "duplicate" and (line.key_sha256 is None or line.value_sha256 is None):
        raise ValueError("key_sha256 or value_sha256 is missing: what was posted before had key and value")
    if activates and line.event_id is not None:
        raise ValueError("a control record has no event_id")
    if line.event_id is not None and not is_uuid(line.event_id):
        raise ValueError("event_id is not a lower-case uuid")
    for name in ("content_hash", "key_sha256", "value_sha256"):
        digest = getattr(line, name)
        if digest is not None and not is_hash(digest):
            raise ValueError(f"{name} is not 64 lower-case hex digits")


def has_original(line: VerdictLine) -> bool:
    """Whether there is a dead letter of it: of a record that was read, and put no rules in force."""
    return line.verdict == "rejected" and line.reason not in NOTHING_READ and activated_rules(line.reason) is None


def verdicts_hash(lines: Iterable[bytes]) -> bytes:
    """SHA-256 over verdict lines in order of offset, each ended by LF; of nothing when there are none."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line)
        digest.update(b"\n")
    return digest.digest()
