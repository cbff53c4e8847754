"""The verdict on one settlement event on the wire: Confluent frame around Avro of schemas/avro/outcome.v1.avsc."""

from __future__ import annotations

from typing import Final

from ledger_core.errors import Corrupt
from schemas.wire.avro import FRAME_BYTES, frame, put_long, put_text, read_is_present, read_long, read_text
from schemas.wire.records import Outcome, Verdict
from schemas.wire.registry import SCHEMA_IDS

OUTCOME_SCHEMA_ID: Final = SCHEMA_IDS["outcome.v1"]
# A header, decimal. What bears it is reported again after a restore; the shard was reported up to this offset before.
REPORTED_TO: Final = "finance.reported_to"
_FRAME: Final = frame(OUTCOME_SCHEMA_ID)
_HASH_BYTES: Final = 32

_VERDICTS: Final[tuple[Verdict, ...]] = ("posted", "duplicate", "rejected")
_VERDICT_BYTES: Final = {verdict: put_long(index) for index, verdict in enumerate(_VERDICTS)}
_NULL: Final = b"\x00"
_SOME: Final = b"\x02"


def encode_outcome(
    event_id: str | None,
    settlement_id: str | None,
    verdict: Verdict,
    reason: str | None,
    detail: str | None,
    shard: int,
    offset: int,
    seq: int | None,
    entry_hash: bytes | None,
) -> bytes:
    """The message value of one outcome; one is written per event, so it takes fields and makes no struct.

    Raises ValueError on a hash that has not 32 bytes, KeyError on an unknown verdict.
    """
    if entry_hash is not None and len(entry_hash) != _HASH_BYTES:
        raise ValueError(f"entry_hash has {len(entry_hash)} bytes, not {_HASH_BYTES}")
    return b"".join(
        (
            _FRAME,
            _NULL if event_id is None else _SOME + put_text(event_id),
            _NULL if settlement_id is None else _SOME + put_text(settlement_id),
            _VERDICT_BYTES[verdict],
            _NULL if reason is None else _SOME + put_text(reason),
            _NULL if detail is None else _SOME + put_text(detail),
            put_long(shard),
            put_long(offset),
            _NULL if seq is None else _SOME + put_long(seq),
            _NULL if entry_hash is None else _SOME + entry_hash,
        )
    )


def decode_outcome(value: bytes) -> Outcome:
    """The outcome in a message value. We wrote the topic ourselves: anything else in it raises Corrupt."""
    if value[:FRAME_BYTES] != _FRAME:
        raise Corrupt(f"an outcome starts with {value[:FRAME_BYTES].hex()}, not {_FRAME.hex()}")
    try:
        event_id, at = _read_text_or_none(value, FRAME_BYTES)
        settlement_id, at = _read_text_or_none(value, at)
        index, at = read_long(value, at)
        if not 0 <= index < len(_VERDICTS):
            raise ValueError(f"verdict {index} is not in the schema")
        reason, at = _read_text_or_none(value, at)
        detail, at = _read_text_or_none(value, at)
        shard, at = read_long(value, at)
        offset, at = read_long(value, at)
        seq = entry_hash = None
        present, at = read_is_present(value, at)
        if present:
            seq, at = read_long(value, at)
        present, at = read_is_present(value, at)
        if present:
            entry_hash = value[at : at + _HASH_BYTES]
            at += _HASH_BYTES
    except (IndexError, ValueError) as error:
        raise Corrupt(f"an outcome is not Avro of outcome.v1: {error}") from None
    if at != len(value):
        raise Corrupt(f"an outcome has {len(value)} bytes where its fields need {at}")
    return Outcome(event_id, settlement_id, _VERDICTS[index], reason, detail, shard, offset, seq, entry_hash)


def _read_text_or_none(value: bytes, at: int) -> tuple[str | None, int]:
    present, at = read_is_present(value, at)
    return read_text(value, at) if present else (None, at)
