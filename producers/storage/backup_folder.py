"""A place for backups: a folder (its volume, mount or bucket sync is the operator's).

Guarantees: a file is there whole and synced, with the folders that lead to it, or not at all: it is written apart and
renamed. A folder that cannot be listed is an error, never an empty one.
Does not: lock, or keep others out. What lies here is encrypted and pinned by digests.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from ledger_core.errors import Refused, Unavailable
from producers.storage.whole_file import replace_file, sync_folder
from schemas.read_file import MIB, read_file

FILE_BYTES_MAX: Final = 128 * MIB  # twice a segment of WAL; a part of a backup has 16 MiB
NOT_OURS: Final = b""  # no digest fits it: an altered file, which another place heals
WRITING: Final = ".writing"
LEFT: Final = dt.timedelta(days=1)  # a file that is being written for so long was left by a killed run


class BackupFolder:
    """The Place protocol of `finance.recovery.backup.place.copies` below `root`."""

    def __init__(self, root: Path, *, clock: Callable[[], dt.datetime]) -> None:
        self._root = root
        self._clock = clock
        self._writing = root / WRITING
        self.name = str(root)

    def put(self, key: str, data: bytes, *, passing: bool) -> None:  # noqa: ARG002  # nothing is locked here
        """Store or replace. Raises Unavailable."""
        path = self._root / key
        apart = self._writing / f"{os.getpid()}-{path.name}"
        with self._failures(f"{path.name} cannot be stored"):
            self._remove_left()
            _make_folder(self._writing)
            _make_folder(path.parent)
            replace_file(path, data, apart=apart)

    def forms(self, key: str) -> Iterator[bytes]:
        """The bytes under the key, if any; NOT_OURS for a longer file, or another kind. Raises Unavailable."""
        with self._failures(f"{key} cannot be read"):
            try:
                data = read_file(self._root / key, FILE_BYTES_MAX)
            except FileNotFoundError:
                return
            except Refused:
                data = NOT_OURS
        yield data

    def sizes(self, prefix: str) -> dict[str, int]:
        """Every key below `prefix` (a folder, with its slash, or all) with its size in bytes. Raises Unavailable."""
        with self._failures(f"{prefix or 'it'} cannot be listed"):
            return {path.relative_to(self._root).as_posix(): size for path, size in self._walk(self._root / prefix)}

    def delete(self, key: str) -> bool:
        """True: it is gone, or was never there. Raises Unavailable."""
        path = self._root / key
        with self._failures(f"{key} cannot be deleted"):
            path.unlink(missing_ok=True)
            if path.parent != self._root and path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()
        return True

    def _walk(self, folder: Path) -> Iterator[tuple[Path, int]]:
        """What is deleted meanwhile was not there."""
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir():
                if path != self._writing:
                    yield from self._walk(path)
                continue
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            yield path, size

    def _remove_left(self) -> None:
        """A killed writer leaves its file; nobody else ever takes it for one of ours."""
        before = (self._clock() - LEFT).timestamp()
        for path, _ in self._walk(self._writing):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable("backup_place", f"{self.name}: {what} ({error.strerror or error})") from error


def _make_folder(path: Path) -> None:
    """Make it with its parents, each name durable in the folder above it."""
    if path.is_dir():
        return
    _make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync_folder(path.parent)
