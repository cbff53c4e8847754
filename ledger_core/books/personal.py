"""Personal data of an event: what it may look like, and the digest that stands for it wherever it does not stand. Pure.

Guarantees: one form, one digest. Each pair has a commitment, SHA256(pair salt || name || 0x00 || value), whose salt is
SHA256(name || 0x00 || the event's salt); the digest is SHA256 of all commitments in order of name. So one pair can be
shown by its own salt, under the same digest, and the others stay closed. The entry can be published for ever, and the
person cannot be guessed from it by whoever has no salt; once data and salt are erased, nobody has one.
Does not: know where data are kept, or whose they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from ledger_core.books.event_rules import METADATA_PAIRS_MAX, check_text, is_metadata_key
from ledger_core.errors import Rejected, RejectReason
from ledger_core.ports import Record

# The form that the settlement event had before its personal data got a topic of their own. It was never released; who
# still sends it says with its frame that such data may follow.
WITH_DATA_SCHEMA_ID: Final = 40_100_531
_FRAME_WITH_DATA: Final = b"\x00" + WITH_DATA_SCHEMA_ID.to_bytes(4, "big")
SALT_BYTES_MIN: Final = 16
SALT_BYTES_MAX: Final = 64

_canonical = msgspec.json.Encoder(order="deterministic")


class PersonalRecord(msgspec.Struct, frozen=True, gc=False):
    """One record of the side topic, decoded and unchecked."""

    event_id: str  # of the settlement event
    pii: dict[str, str]  # personal data
    salt: bytes  # of the digest; chosen by the publisher


class SealedData(NamedTuple):
    """Personal data that keep the rules, with what stands for them elsewhere."""

    canonical: bytes  # canonical JSON of the data
    salt: bytes  # chosen by the publisher
    digest: bytes  # SHA-256 of both, 32 bytes


class NewRow(NamedTuple):
    """Personal data of one record, to be added."""

    event_id: str  # of the settlement event
    digest: bytes  # of data and salt, 32 bytes
    pii: bytes  # canonical JSON
    salt: bytes  # chosen by the publisher
    offset: int  # where the record stood on the side topic


class RefusedRow(NamedTuple):
    """A record that is not kept, or not any more."""

    partition: int  # of the side topic
    offset: int  # where the record stood
    digest: bytes | None  # salted; None where the record has none
    reason: str  # a word


class WaitingRow(NamedTuple):
    """Data that no entry has confirmed yet."""

    event_id: str  # of the settlement event
    digest: bytes  # of data and salt, 32 bytes
    arrival: int  # in the order in which rows came
    partition: int  # of the side topic
    offset: int  # where the record stood
    is_late: bool  # whether it waited for longer than it may


def without_personal_data(record: Record) -> Record:
    """What may be kept of a rejected record: key and place alone where its frame says that personal data may follow."""
    if record.value is None or not record.value.startswith(_FRAME_WITH_DATA):
        return record
    return msgspec.structs.replace(record, value=None, headers=())


def sealed(pii: Mapping[str, str], salt: bytes) -> SealedData:
    """Raises Rejected for a salt or a pair outside the rules; its words repeat nothing of the data."""
    if not SALT_BYTES_MIN <= len(salt) <= SALT_BYTES_MAX:
        wanted = f"{SALT_BYTES_MIN} to {SALT_BYTES_MAX}"
        raise Rejected(RejectReason.BAD_FIELD, f"pii_salt has {len(salt)} bytes, not {wanted}")
    if len(pii) > METADATA_PAIRS_MAX:
        raise Rejected(RejectReason.OVERSIZE, f"{len(pii)} pii pairs, more than {METADATA_PAIRS_MAX}")
    for key, value in pii.items():
        if not is_metadata_key(key):
            raise Rejected(RejectReason.BAD_FIELD, "a pii key is not a lower-case word")
        check_text("pii value", value)
    canonical = _canonical.encode(pii)
    commitments = (commitment_of(name, pii[name], pair_salt(name, salt)) for name in sorted(pii))
    return SealedData(canonical, salt, digest_of(commitments))


def pair_salt(name: str, salt: bytes) -> bytes:
    """The salt of one pair, 32 bytes, out of the event's: it opens this pair and says nothing of the others."""
    return hashlib.sha256(name.encode() + b"\0" + salt).digest()


def commitment_of(name: str, value: str, salt: bytes) -> bytes:
    """What stands for one pair, 32 bytes; `salt`: that of the pair."""
    return hashlib.sha256(salt + name.encode() + b"\0" + value.encode()).digest()


def digest_of(commitments: Iterable[bytes]) -> bytes:
    """What stands for all pairs, 32 bytes; the commitments stand in order of name."""
    return hashlib.sha256(b"".join(commitments)).digest()
