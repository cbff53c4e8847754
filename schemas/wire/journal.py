"""A posted journal entry on the wire: Confluent frame around Avro of schemas/avro/journal.v1.avsc.

`body` travels untouched: the canonical JSON that is chained. What is read is checked for form only; that body, seq and
hash fit together is for the reader's chain to find out.
"""

from __future__ import annotations

from typing import Final

from ledger_core.errors import Corrupt
from schemas.wire.avro import FRAME_BYTES, frame, put_long, read_bytes, read_long
from schemas.wire.records import JournalRecord
from schemas.wire.registry import SCHEMA_IDS

JOURNAL_SCHEMA_ID: Final = SCHEMA_IDS["journal.v1"]
ENTRY_HASH_BYTES: Final = 32
_FRAME: Final = frame(JOURNAL_SCHEMA_ID)


def encode_journal(shard: int, seq: int, body: bytes, entry_hash: bytes) -> bytes:
    """The message value of one entry. Raises ValueError unless the hash has 32 bytes."""
    if len(entry_hash) != ENTRY_HASH_BYTES:
        raise ValueError(f"entry_hash has {len(entry_hash)} bytes, not {ENTRY_HASH_BYTES}")
    return b"".join((_FRAME, put_long(shard), put_long(seq), put_long(len(body)), body, entry_hash))


def decode_journal(value: bytes) -> JournalRecord:
    """The record in a message value. We wrote the topic ourselves: anything else in it raises Corrupt."""
    if value[:FRAME_BYTES] != _FRAME:
        raise Corrupt(f"a journal record starts with {value[:FRAME_BYTES].hex()}, not {_FRAME.hex()}")
    try:
        shard, at = read_long(value, FRAME_BYTES)
        seq, at = read_long(value, at)
        body, at = read_bytes(value, at)
    except (IndexError, ValueError) as error:
        raise Corrupt(f"a journal record is not Avro of journal.v1: {error}") from None
    if at + ENTRY_HASH_BYTES != len(value):
        raise Corrupt(f"a journal record has {len(value)} bytes where its fields need {at + ENTRY_HASH_BYTES}")
    return JournalRecord(shard, seq, body, value[at:])
