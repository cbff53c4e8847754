"""The manifest of one base backup: what it is of, its parts and their digests, signed. Pure.

Guarantees: a backup exists exactly when its manifest does; the manifest pins every part by its digest, and what the
lists of WAL had signed for by then, under a signature of the ledger's own key; it names the backups before it, so that
they count whatever becomes of their key.
Does not: read the place, or verify a signature: `finance.recovery.backup.place.catalogue` does.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from finance.recovery.backup.place.wal_list import Key
from ledger_core.signing import statements
from ledger_core.signing.purposes import Purpose
from ledger_core.signing.statements import Decimal, Hash, Name, Payload, Timestamp, check_signed, decode_statement
from ledger_core.times import parse_time

BackupId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\Z")]


class BackupPart(statements.StatementPart, frozen=True, kw_only=True):
    """One stored piece of the compressed tar, in order. Size in bytes, digest of what is stored."""

    key: Key  # name below the place
    size_bytes: Decimal  # of what is stored
    sha256: Hash  # of what is stored


class BackupPayload(Payload, frozen=True, kw_only=True):
    """Everything that is signed. Positions are bytes of WAL; `sha256` and `size_bytes` are of the plain tar. Raises
    ValueError without a part, or when a link stands at no file.
    """

    said_as: ClassVar[Purpose] = "backup"

    version: Literal[1]  # of this format
    service: Literal["finance"]  # always ours
    statement: Literal["backup"]  # so that no signature of another statement can be taken for this one's
    env: Name  # environment, such as prod
    backup_id: BackupId  # when it began (UTC, to the second) and 8 hex digits; names its folder
    system_identifier: Decimal  # of the Postgres cluster, set by initdb
    server_version: Decimal  # as server_version_num, such as 180004
    timeline: Decimal  # the timeline that it was taken on
    segment_bytes: Decimal  # size of a WAL segment
    start_lsn: Decimal  # where its WAL begins, inclusive, bytes
    stop_lsn: Decimal  # up to where it needs WAL, exclusive, bytes
    started_at: Timestamp  # by the backup host's clock, UTC
    finished_at: Timestamp  # by the same clock, just before it was signed, UTC
    size_bytes: Decimal  # of the plain tar
    sha256: Hash  # of the plain tar
    parts: tuple[BackupPart, ...]  # in order; together the compressed tar, each encrypted by itself
    wal_files: Decimal  # how many files of WAL the lists had signed for then; 0 while there was no list
    wal_link: Hash | None  # the link at the last of them (`finance.recovery.backup.place.wal_list`); None exactly at 0

    backups_before: tuple[Hash, ...] | UnsetType = UNSET  # `hash` of each that counted then; unset in the first ones

    dated_by: ClassVar[str] = "finished_at"

    def __post_init__(self) -> None:
        parse_time(self.started_at)
        parse_time(self.finished_at)
        if not self.parts:
            raise ValueError("a backup has parts")
        if (self.wal_files == "0") != (self.wal_link is None):
            raise ValueError("a link stands at the last of at least one file")

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

    hash: Hash  # of the payload; recomputed when parsed
    signature: str  # base64, by signer_kid over the 32 bytes of hash

    def __post_init__(self) -> None:
        BackupPayload.__post_init__(self)
        check_signed(self)


_decoder = msgspec.json.Decoder(BackupManifest)


def parse_backup_manifest(data: bytes) -> BackupManifest:
    """Canonical bytes -> struct. Raises ValueError on another spelling or a wrong hash."""
    return decode_statement(data, _decoder)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
