"""The manifest of one base backup: what it is of, its parts and their digests, signed. Pure.

Guarantees: a backup exists exactly when its manifest does; the manifest pins every part, and every WAL file that was
stored before it, by digest (it stands in their names), under a signature of the ledger's own key.
Does not: look into the place, or verify a signature: `finance.backup.catalogue` does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Annotated, Any, Literal

import msgspec

from ledger_core.ports import Algorithm
from ledger_core.signatures import decode_signature, encode_signature
from ledger_core.signed_fields import Decimal, Hash, Name, Timestamp, decode_statement, encode_statement, statement_hash
from ledger_core.times import parse_time

BackupId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\Z")]
Key = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9./-]{0,250}\Z")]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One stored piece of the compressed tar, in order. Size in bytes, digest of what is stored."""

    key: Key
    size_bytes: Decimal
    sha256: Hash


class BackupPayload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that is signed. Positions are bytes of WAL; `sha256` and `size_bytes` are of the plain tar."""

    version: Literal[1]
    service: Literal["finance"]
    statement: Literal["backup"]  # so that no signature of another statement can be taken for this one's
    env: Name
    backup_id: BackupId
    system_identifier: Decimal
    server_version: Decimal
    timeline: Decimal
    segment_bytes: Decimal
    start_lsn: Decimal
    stop_lsn: Decimal
    started_at: Timestamp
    finished_at: Timestamp
    size_bytes: Decimal
    sha256: Hash
    parts: tuple[Part, ...]
    wal: tuple[Key, ...]  # complete segments that were stored since the backup before it
    signer_kid: Name
    alg: Algorithm

    def __post_init__(self) -> None:
        parse_time(self.started_at)
        parse_time(self.finished_at)
        if not self.parts:
            raise ValueError("a backup has parts")

    def digest(self) -> bytes:
        """SHA256 of the canonical payload: what is signed."""
        return statement_hash(encode_statement(BackupPayload(**_fields(self))), None)

    @property
    def finished(self) -> dt.datetime:
        return parse_time(self.finished_at)

    @property
    def first_segment(self) -> int:
        return int(self.start_lsn) // int(self.segment_bytes)

    @property
    def stored_bytes(self) -> int:
        return sum(int(part.size_bytes) for part in self.parts)


class BackupManifest(BackupPayload, frozen=True, kw_only=True):
    """A payload with its hash and signature."""

    hash: Hash
    signature: str

    def __post_init__(self) -> None:
        BackupPayload.__post_init__(self)
        if self.digest().hex() != self.hash:
            raise ValueError("hash is not that of the payload")
        decode_signature(self.signature)


_decoder = msgspec.json.Decoder(BackupManifest)


def parse_backup_manifest(data: bytes) -> BackupManifest:
    """Canonical bytes -> struct. Raises ValueError on another spelling or a wrong hash."""
    return decode_statement(data, _decoder)


def assemble_backup_manifest(payload: BackupPayload, signature: bytes) -> bytes:
    """The caller has verified the signature over `digest()`."""
    signed = encode_signature(signature)
    return encode_statement(BackupManifest(**_fields(payload), hash=payload.digest().hex(), signature=signed))


def _fields(payload: BackupPayload) -> dict[str, Any]:
    return {name: getattr(payload, name) for name in BackupPayload.__struct_fields__}


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
