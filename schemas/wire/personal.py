"""Personal data on the wire: Confluent frame around Avro of schemas/avro/personal.v1.avsc, under the event id as key.

`decode_personal` turns any bytes into either a record or Rejected, as `schemas.wire.settlements` does for events; what
it says of them repeats none of their content. What the fields must look like is `ledger_core.books.personal`.
"""

from __future__ import annotations

from typing import Final

from ledger_core.books.event_rules import is_uuid
from ledger_core.books.personal import PersonalRecord
from ledger_core.errors import Rejected, RejectReason
from schemas.wire.avro import (
    FRAME_BYTES,
    frame,
    put_bytes,
    put_text,
    put_text_map,
    read_bytes,
    read_text,
    read_text_map,
)
from schemas.wire.registry import SCHEMA_IDS

PERSONAL_BYTES_MAX: Final = 131_072  # 32 pairs of 512 characters of four bytes each are half of it
PERSONAL_SCHEMA_ID: Final = SCHEMA_IDS["personal.v1"]
_FRAME: Final = frame(PERSONAL_SCHEMA_ID)


def decode_personal(key: bytes | None, value: bytes) -> PersonalRecord:
    """The record in a message. Raises Rejected, and nothing else, for anything that is not one."""
    if len(value) > PERSONAL_BYTES_MAX:
        raise Rejected(RejectReason.OVERSIZE, f"the value has {len(value)} bytes; the limit is {PERSONAL_BYTES_MAX}")
    if value[:FRAME_BYTES] != _FRAME:
        raise Rejected(RejectReason.UNKNOWN_SCHEMA, "the value is not framed as personal.v1")
    try:
        event_id, at = read_text(value, FRAME_BYTES)
        pii, at = read_text_map(value, at)
        salt, at = read_bytes(value, at)
    except (IndexError, ValueError) as error:  # UnicodeDecodeError among them, which repeats what it could not read
        raise Rejected(RejectReason.MALFORMED, f"the value is not personal.v1 ({type(error).__name__})") from None
    if at != len(value):
        raise Rejected(RejectReason.MALFORMED, f"the value has {len(value)} bytes where its fields need {at}")
    if is_uuid(event_id) is None:
        raise Rejected(RejectReason.BAD_FIELD, "event_id is not a lower-case uuid")
    if key != event_id.encode():
        raise Rejected(RejectReason.KEY_MISMATCH, "the message key must be the event_id")
    return PersonalRecord(event_id, pii, salt)


def erased_event_id(key: bytes | None) -> str:
    """Whose data a record without a value erases. Raises Rejected for a key that is not an event id."""
    text = (key or b"").decode("ascii", "replace")
    if is_uuid(text) is None:
        raise Rejected(RejectReason.KEY_MISMATCH, "the key of a record without a value is not an event id")
    return text


def encode_personal(event_id: str, pii: dict[str, str], salt: bytes) -> bytes:
    """The message value. Raises ValueError when a text holds a lone surrogate."""
    return _FRAME + put_text(event_id) + put_text_map(pii) + put_bytes(salt)
