"""The archive's port on a directory: auditors' bundles, and verification without a network.

Guarantees: an object is written whole or not at all, is never overwritten with other bytes, and every read compares its
digest with the one noted when it was stored. Beside `<key>` lies `<key>.version.json` with what the store said of it,
so that a copy of a locked object keeps the version id that its manifest pins.
Does not: lock anything. Whoever owns the directory can delete: `check_lock` refuses it as an archive.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import msgspec

from ledger_core.errors import Corrupt, Refused
from ledger_core.ports import StoredObject
from producers.storage.whole_file import replace_file
from schemas.read_file import OBJECT_BYTES_MAX, SETTINGS_BYTES_MAX, read_file

NOTE_SUFFIX: Final = ".version.json"


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies beside an object. `mode` and `retain_until` are those of the store the object was copied from."""

    version_id: str
    sha256: str
    size_bytes: int
    retain_until: dt.datetime | None
    mode: Literal["COMPLIANCE", "GOVERNANCE"] | None
    metadata: dict[str, str]


class FileArchiveStore:
    """The ArchiveStore port below `root`. With `read_only` nothing is written, and `check_lock` has nothing to ask."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self._root = root
        self._read_only = read_only

    def check_lock(self) -> None:
        """A directory locks nothing. Raises Refused unless it is only read."""
        if not self._read_only:
            raise Refused(
                f"{self._root} is a directory: it locks nothing",
                remedy="archive to S3 with Object Lock (stores.archive in topology.yaml); a directory is for bundles",
            )

    def put(self, key: str, data: bytes, *, retain_until: dt.datetime, metadata: dict[str, str]) -> StoredObject:
        """Store and read back; `retain_until` is not honoured, and the answer says so (no mode, no date).

        An equal object that stands there already is success; another one raises Corrupt.
        """
        del retain_until
        sha256 = hashlib.sha256(data).hexdigest()
        return self._write(StoredObject(key, sha256[:32], len(data), sha256, None, None, dict(metadata)), data)

    def add_copy(self, stored: StoredObject, data: bytes) -> StoredObject:
        """Keep a copy of a version of another store, under its own version id. Raises Corrupt on other bytes."""
        if hashlib.sha256(data).hexdigest() != stored.sha256:
            raise Corrupt(f"{stored.key}: the copy differs from version {stored.version_id}")
        return self._write(stored, data)

    def get(self, key: str, version_id: str | None = None) -> bytes:
        """The bytes of the object. Raises KeyError without it or with another version of it, Corrupt when altered."""
        stored = self._stored(key)
        if stored is None or version_id not in (None, stored.version_id):
            raise KeyError(f"{self._root / key} version {version_id}")
        try:
            data = read_file(self._root / key, OBJECT_BYTES_MAX)
        except Refused as error:  # one of many: whoever checks them says so, and goes on
            raise Corrupt(error.message) from error
        if hashlib.sha256(data).hexdigest() != stored.sha256:
            raise Corrupt(f"{self._root / key} has other bytes than were stored")
        return data

    def versions(self, prefix: str) -> list[StoredObject]:
        """The objects below a prefix in order of key; each has one version."""
        if not self._root.is_dir():
            return []
        notes = (path.relative_to(self._root).as_posix() for path in self._root.rglob(f"*{NOTE_SUFFIX}"))
        keys = sorted(name.removesuffix(NOTE_SUFFIX) for name in notes)
        found = [self._stored(key) for key in keys if key.startswith(prefix)]
        return [stored for stored in found if stored is not None]

    def _stored(self, key: str) -> StoredObject | None:
        path = self._path(key)
        try:
            note = msgspec.json.decode(
                read_file(path.with_name(path.name + NOTE_SUFFIX), SETTINGS_BYTES_MAX), type=_Note
            )
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise Corrupt(f"{path}{NOTE_SUFFIX} is not a note of a version: {error}") from error
        if not path.is_file():
            return None
        return StoredObject(
            key, note.version_id, note.size_bytes, note.sha256, note.retain_until, note.mode, note.metadata
        )

    def _write(self, stored: StoredObject, data: bytes) -> StoredObject:
        if self._read_only:
            raise Refused(f"{self._root} was opened read-only", remedy="open it for writing to build a bundle")
        path = self._path(stored.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        existing = self._stored(stored.key)
        if existing is None:
            note = _Note(
                stored.version_id,
                stored.sha256,
                stored.size_bytes,
                stored.retain_until,
                stored.mode,
                stored.metadata,
            )
            replace_file(path, data)
            replace_file(path.with_name(path.name + NOTE_SUFFIX), msgspec.json.encode(note))
            existing = stored
        if self.get(stored.key) != data:
            raise Corrupt(f"{path} has other bytes than were to be stored")
        return existing

    def _path(self, key: str) -> Path:
        """Where a key lies: always below the root."""
        parts = PurePosixPath(key).parts
        if not key or key.startswith("/") or ".." in parts or key.endswith((NOTE_SUFFIX, "/")):
            raise ValueError(f"{key!r} is not the name of an object")
        return self._root.joinpath(*parts)
