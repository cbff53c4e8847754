"""The manifest of one base backup: what it is of, its parts and their digests, signed. Pure.

Guarantees: a backup exists exactly when its manifest does; the manifest pins every part by its digest, and what the
lists of WAL had signed for by then, under a signature of the ledger's own key.
Does not: look into the place, or verify a signature: `finance.recovery.backup.catalogue` does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Annotated, Literal

import msgspec

from finance.recovery.backup.statement import check_signed, payload_digest
from finance.recovery.backup.wal_list import Key
from ledger_core.ports import Algorithm
from ledger_core.signing.statements import Decimal, Hash, Name, Timestamp, decode_statement
from ledger_core.times import parse_time

BackupId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\Z")]


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
    wal_files: (
        Decimal  # how many files of WAL were signed for, and the link at the last (`finance.recovery.backup.wal_list`)
    )
    wal_link: Hash | None
    signer_kid: Name
    alg: Algorithm

    def __post_init__(self) -> None:
        parse_time(self.started_at)
        parse_time(self.finished_at)
        if not self.parts:
            raise ValueError("a backup has parts")
        if (self.wal_files == "0") != (self.wal_link is None):
            raise ValueError("a link stands at the last of at least one file")

    def digest(self) -> bytes:
        """SHA256 of the canonical payload: what is signed."""
        return payload_digest(self, BackupPayload)

    @property
    def finished(self) -> dt.datetime:
        return parse_time(self.finished_at)

    @property
    def last_segment(self) -> int:
        return int(self.stop_lsn) // int(self.segment_bytes)

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
        check_signed(self, self.digest())


_decoder = msgspec.json.Decoder(BackupManifest)


def parse_backup_manifest(data: bytes) -> BackupManifest:
    """Canonical bytes -> struct. Raises ValueError on another spelling or a wrong hash."""
    return decode_statement(data, _decoder)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
