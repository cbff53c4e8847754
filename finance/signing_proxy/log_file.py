"""The files of the log: `path`, then `path.2`, `path.3` and so on, each begun when the one before is full.

Guarantees: a line is on disk when `write` returns; nothing is ever renamed or cut, so that every part may be
append-only for the file system; one process holds the newest part (a lock), and what somebody else wrote, moved or cut
is noticed before the next line. A part that cannot be begun stops nothing: the one before grows on.
Does not: know what a line says. A crash between the beginning of a part and its first line leaves an empty part.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from finance.settings.file_lock import lock_file
from ledger_core.errors import Refused
from producers.storage.whole_file import sync_folder

ONE_EACH: Final = "give each signing proxy a log of its own"
BLOCK_BYTES: Final = 65_536
BACK_BYTES_MAX: Final = 1_073_741_824  # how far back `lines_back` reads: some seconds

log = structlog.get_logger("signing-proxy")


def parts_of(path: Path) -> list[Path]:
    """The parts of a log that are there, oldest first."""
    numbered = {1: path} if path.exists() else {}
    later = re.compile(re.escape(path.name) + r"\.([1-9][0-9]{0,8})")
    for found in path.parent.iterdir() if path.parent.is_dir() else ():
        match = later.fullmatch(found.name)
        if match is not None and int(match[1]) > 1 and found.is_file():
            numbered[int(match[1])] = found
    return [numbered[number] for number in sorted(numbered)]


def lines_back(parts: Sequence[Path], bytes_max: int = BACK_BYTES_MAX) -> Iterator[bytes]:
    """Every line (without LF) of the last `bytes_max` bytes, the newest first; what is torn at the end is one, too."""
    left = bytes_max
    for path in reversed(parts):
        with path.open("rb") as file:
            end, last_block, begun = file.seek(0, os.SEEK_END), True, b""
            while end and left > 0:
                start = max(0, end - BLOCK_BYTES)
                file.seek(start)
                data = file.read(end - start)
                lines = ((data.removesuffix(b"\n") if last_block else data) + begun).split(b"\n")
                begun = lines.pop(0) if start else b""
                yield from reversed(lines)
                left, end, last_block = left - (end - start), start, False


class LogFile:
    """The newest part, held. Raises Refused. `fsync` is an argument so that disks can fail."""

    def __init__(self, path: Path, *, part_bytes_max: int, fsync: Callable[[int], None]) -> None:
        self._base, self._part_bytes_max, self._fsync = path, part_bytes_max, fsync
        self.dead: str | None = None  # why nothing may be written any more
        self._part = (parts_of(path) or [path])[-1]
        try:
            self._file = self._open(self._part)
        except OSError as error:
            raise Refused(f"the log {path} cannot be opened ({error})", remedy="set SIGNING_PROXY_LOG") from error
        try:
            lock_file(self._file, f"the log {path} is locked by another process", remedy=ONE_EACH)
            if self.parts[-1] != self._part:
                raise Refused(f"the log {path} is another process's, which has just begun a new part", remedy=ONE_EACH)
        except (OSError, Refused) as error:
            os.close(self._file)
            if isinstance(error, Refused):
                raise
            raise Refused(f"the log {path} cannot be locked ({error})", remedy=ONE_EACH) from error
        self.size = os.fstat(self._file).st_size

    @property
    def parts(self) -> list[Path]:
        return parts_of(self._base)

    @property
    def name(self) -> str:
        return self._part.name

    def write(self, data: bytes) -> None:
        """Raises OSError: then it may be there, or a part of it."""
        written = os.write(self._file, data)
        self.size += written
        if written != len(data):
            raise OSError("only a part could be written: the disk is full")
        try:
            self._fsync(self._file)
        except OSError as error:
            self.dead = f"fsync failed ({error}): what is on disk is not known. Restart the proxy"
            raise

    def look(self) -> None:
        """Take the size as it is."""
        self.size = os.fstat(self._file).st_size

    def check_ours(self) -> None:
        """Raise OSError when the path is another file by now, or somebody else wrote to it or cut it."""
        if self.dead is not None:
            raise OSError(self.dead)
        held = os.fstat(self._file)
        if os.stat(self._part).st_ino != held.st_ino:
            raise OSError("it was moved away: put it back, or restart the proxy to go on in a new one")
        if held.st_size != self.size:
            self.dead = "another process wrote to it or cut it: find out which, then restart the proxy"
            raise OSError(self.dead)

    def begin_part_when_full(self) -> None:
        """Whole lines stand in the newest part, and it is full: the next line begins another."""
        if self.size < self._part_bytes_max:
            return
        number = 1 if self._part == self._base else int(self._part.name.rpartition(".")[2])
        new = self._base.with_name(f"{self._base.name}.{number + 1}")
        try:
            file = self._open(new, os.O_EXCL)
            lock_file(file, f"another process has begun {new.name}")
        except (OSError, Refused) as error:
            log.warning("signing_proxy.part_not_begun", part=new.name, detail=str(error), then=f"{self.name} grows on")
            return
        os.close(self._file)
        self._file, self._part, self.size = file, new, 0
        log.info("signing_proxy.part_begun", part=new.name)

    def close(self) -> None:
        os.close(self._file)

    @staticmethod
    def _open(path: Path, flags: int = 0) -> int:
        """Raises OSError."""
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | flags, 0o600)
        sync_folder(path.parent)
        return file
