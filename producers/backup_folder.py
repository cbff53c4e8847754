"""A place for backups: a folder (its volume, mount or bucket sync is the operator's).

Guarantees: a file is there whole and synced, or not at all: it is written beside its name and renamed.
Does not: lock, or keep others out. What lies here is encrypted and pinned by digests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ledger_core.errors import Unavailable

WRITING: Final = ".writing"


class BackupFolder:
    """The Place protocol of `finance.backup.copies` below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.name = str(root)

    def put(self, key: str, data: bytes) -> None:
        """Store or replace. Raises Unavailable."""
        path = self._root / key
        beside = path.with_name(f"{path.name}.{os.getpid()}{WRITING}")
        with self._failures(f"{path.name} cannot be stored"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            beside.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def get(self, key: str) -> bytes:
        """Raises KeyError when there is none, Unavailable."""
        with self._failures(f"{key} cannot be read"):
            try:
                return (self._root / key).read_bytes()
            except FileNotFoundError:
                raise KeyError(key) from None

    def sizes(self, prefix: str) -> dict[str, int]:
        """Every key that begins with `prefix` (a folder, with its slash), with its size in bytes."""
        found = {}
        with self._failures(f"{prefix} cannot be listed"):
            for folder, _, names in os.walk(self._root / prefix):
                for name in names:
                    if not name.endswith(WRITING):
                        path = Path(folder) / name
                        found[path.relative_to(self._root).as_posix()] = path.stat().st_size
        return found

    def delete(self, key: str) -> None:
        """What is not there is deleted already. Raises Unavailable."""
        path = self._root / key
        with self._failures(f"{key} cannot be deleted"):
            path.unlink(missing_ok=True)
            if path.parent != self._root and path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable("backup_place", f"{self.name}: {what} ({error.strerror or error})") from error
