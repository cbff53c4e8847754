"""The server's own list of the files in a base backup (`backup_manifest`), and whether a directory holds just that.

Guarantees: names the file that is missing, or whose size or SHA-256 is not what the server said while it read it: what
`pg_verifybackup` checks of files (Postgres documentation, "Backup Manifest Format").
Does not: parse WAL, which recovery itself checks record by record.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from finance.recovery.backup import wal
from ledger_core.errors import Refused
from schemas.read_file import OBJECT_BYTES_MAX, open_file, read_file

NAME: Final = "backup_manifest"
_CHECKSUM: Final = b'"Manifest-Checksum"'


class _File(msgspec.Struct, frozen=True):
    size: int = msgspec.field(name="Size")
    checksum: str = msgspec.field(name="Checksum")
    algorithm: str = msgspec.field(name="Checksum-Algorithm")
    path: str | None = msgspec.field(name="Path", default=None)
    encoded_path: str | None = msgspec.field(name="Encoded-Path", default=None)

    @property
    def name(self) -> str:
        return self.path if self.path is not None else bytes.fromhex(self.encoded_path or "").decode(errors="replace")


class _Range(msgspec.Struct, frozen=True):
    timeline: int = msgspec.field(name="Timeline")
    start: str = msgspec.field(name="Start-LSN")
    end: str = msgspec.field(name="End-LSN")


class _Pages(msgspec.Struct, frozen=True):
    files: tuple[_File, ...] = msgspec.field(name="Files")
    ranges: tuple[_Range, ...] = msgspec.field(name="WAL-Ranges")
    checksum: str = msgspec.field(name="Manifest-Checksum")


@dataclass(frozen=True, slots=True)
class WalRange:
    """The WAL that makes the backup consistent, in bytes."""

    timeline: int  # from 1
    start_lsn: int  # inclusive
    stop_lsn: int  # exclusive


def wal_range(data: bytes) -> WalRange:
    """Raises Refused."""
    pages = _parse(data)
    if len(pages.ranges) != 1:
        raise Refused("the server was promoted during the backup", remedy="run `finance backup create` again")
    found = pages.ranges[0]
    return WalRange(found.timeline, wal.parse_lsn(found.start), wal.parse_lsn(found.end))


def fault_in(directory: Path) -> str | None:
    """The first file that is not as the server wrote it; None when all are. Raises Refused without a sound list."""
    for file in _parse(read_file(directory / NAME, OBJECT_BYTES_MAX)).files:
        path = directory / file.name
        if file.algorithm != "SHA256":
            return f"{file.name} is listed with {file.algorithm}"
        if not path.is_file():
            return f"{file.name} is missing"
        if path.stat().st_size != file.size:
            return f"{file.name} has {path.stat().st_size} bytes, not {file.size}"
        with open_file(path) as handle:
            if hashlib.file_digest(handle, "sha256").hexdigest() != file.checksum:
                return f"{file.name} was altered"
    return None


def _parse(data: bytes) -> _Pages:
    try:
        pages = msgspec.json.decode(data, type=_Pages)
        if hashlib.sha256(data[: data.rindex(_CHECKSUM)]).hexdigest() != pages.checksum:
            raise ValueError("its own checksum differs")
    except ValueError as error:
        raise Refused(
            f"the server's list of the backup's files is not sound ({error})", remedy="take or use another backup"
        ) from error
    return pages
