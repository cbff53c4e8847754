"""The names of everything in a place of backups: made here, read back here, and nowhere else. Pure.

    <system identifier>/base/<backup id>/manifest.json       signed; a backup without it does not exist
    <system identifier>/base/<backup id>/part-00001-<sha256>.age
    <system identifier>/wal/<segment or history>-<time>-<sha256>.age
    <system identifier>/wal/<segment>.partial-<time>-<sha256>.age      the newest segment, not complete yet
    <system identifier>/wal-list/00000001.json               signed: which files of WAL were stored
    <system identifier>/wal-list/newest.json                 the one that is not full yet
    <system identifier>/stream.json                          how far the stream has come

Guarantees: every file but the JSON ones has its own digest in its name, so a listing and the bytes are enough to find
what was altered; a gap in the numbers of segments is what is missing.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final

from finance.recovery.backup import wal

MANIFEST: Final = "manifest.json"
STREAM: Final = "stream.json"
NEWEST: Final = "newest.json"
WAL_KEY: Final = re.compile(
    r"(.+?/wal/)([0-9A-F]{24}|[0-9A-F]{24}\.partial|[0-9A-F]{8}\.history)-(\d{13})-([0-9a-f]{64})\.age"
)


@dataclass(frozen=True, slots=True)
class WalFile:
    """One stored file of WAL. `stored_at` is the receiver's clock when the file was complete."""

    key: str  # in the place
    name: str  # as Postgres names it
    stored_at: dt.datetime
    sha256: str  # hex, of the stored bytes


def backups_folder(system_identifier: str) -> str:
    """Where the backups of a cluster stand."""
    return f"{system_identifier}/base/"


def wal_folder(system_identifier: str) -> str:
    """Where its segments and histories stand."""
    return f"{system_identifier}/wal/"


def base_prefix(system_identifier: str, backup_id: str) -> str:
    return f"{backups_folder(system_identifier)}{backup_id}/"


def manifest_key(system_identifier: str, backup_id: str) -> str:
    return base_prefix(system_identifier, backup_id) + MANIFEST


def part_key(system_identifier: str, backup_id: str, number: int, sha256: str) -> str:
    """Parts are numbered from 1."""
    return f"{base_prefix(system_identifier, backup_id)}part-{number:05d}-{sha256}.age"


def stream_key(system_identifier: str) -> str:
    return f"{system_identifier}/{STREAM}"


def wal_list_key(system_identifier: str, list_no: int) -> str:
    """Of a list that is full."""
    return f"{_wal_lists_folder(system_identifier)}{list_no:08d}.json"


def wal_list_no(key: str, system_identifier: str) -> int | None:
    """The number of the full list; None when this is not the name of one."""
    number = key.removeprefix(_wal_lists_folder(system_identifier)).removesuffix(".json")
    return int(number) if number.isdecimal() and key == wal_list_key(system_identifier, int(number)) else None


def newest_list_key(system_identifier: str) -> str:
    return f"{_wal_lists_folder(system_identifier)}{NEWEST}"


def wal_key(system_identifier: str, name: str, stored_at: dt.datetime, sha256: str) -> str:
    return f"{wal_folder(system_identifier)}{name}-{int(stored_at.timestamp() * 1000):013d}-{sha256}.age"


def is_manifest(key: str) -> bool:
    """Whether this is the name of a backup's manifest."""
    return key.endswith(f"/{MANIFEST}")


def wal_file(key: str) -> WalFile | None:
    """What a key below wal/ says; None when it is not a WAL file."""
    found = WAL_KEY.fullmatch(key)
    if found is None:
        return None
    _, name, stored_ms, sha256 = found.groups()
    return WalFile(key, name, dt.datetime.fromtimestamp(int(stored_ms) / 1000, dt.UTC), sha256)


def is_passing(key: str) -> bool:
    """Whether it will soon be replaced or deleted: no lock is put on it."""
    found = wal_file(key)
    return key.endswith((f"/{STREAM}", f"/{NEWEST}")) or (found is not None and found.name.endswith(wal.PARTIAL))


def _wal_lists_folder(system_identifier: str) -> str:
    return f"{system_identifier}/wal-list/"
