"""Names that a caller may use once: tokens that changed something, nonces. Remembered in a folder, an empty file each.

Guarantees: a name is used once by whom it belongs to, over restarts, and among all processes that share the folder
(the file system makes a file for one of them only: local ones do, and NFS from version 3); it is on disk before
anything is done in its name. Each caller has its own share: who fills it harms nobody else, and gets on as soon as the
oldest of his names may be forgotten. `since` is from when on nothing was forgotten: what was made before then may
have been used. A folder that was removed, or a clock that jumped, moves it; it never lets a name in twice.
Does not: keep apart what two processes with two folders are asked.

How long a name is kept counts by its file's time, which is the caller of `use`'s.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Final, Literal

from ledger_core.errors import Refused

NAMES_MAX: Final = 100_000  # of a caller and a kind
FREED_PART: Final = 10  # of a full share, this part is freed at once: a scan for each name would hold everybody up
SINCE: Final = ".since"  # no caller is called so
Kind = Literal["token", "nonce"]


class UsedOnce:
    """The folder, made when it is not there. Raises Refused."""

    def __init__(self, folder: Path, *, now: float, names_max: int = NAMES_MAX) -> None:
        self._folder, self._names_max = folder, names_max
        self._lock = threading.Lock()
        self._counts: dict[Path, int] = {}
        self._full_until: dict[Path, float] = {}
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make(folder / SINCE, now)
        except OSError as error:
            raise Refused(
                f"{folder}, where tokens and nonces that were used are remembered, cannot be written ({error})",
                remedy="give it to the proxy (chmod 700), or name another folder with SIGNING_PROXY_USED",
            ) from error

    def since(self, now: float) -> float:
        """Nothing used after this time (POSIX seconds) was forgotten. Raises OSError."""
        _make(self._folder / SINCE, now)  # somebody removed the folder: what was used until now is not known
        return os.stat(self._folder / SINCE).st_mtime

    def use(
        self, caller: str, kind: Kind, name: str, *, now: float, kept_seconds: float, kept_seconds_min: float
    ) -> bool:
        """Whether this is its first use. It is kept for `kept_seconds`; `kept_seconds_min` will do when the share is
        full. Raises OverflowError (full of names that may not be forgotten yet) and OSError.
        """
        share = self._folder / caller / kind
        with self._lock:
            if share not in self._counts:
                share.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._counts[share] = sum(1 for _ in os.scandir(share))
            path = share / hashlib.sha256(name.encode()).hexdigest()
            if path.exists():
                return False
            if self._counts[share] >= self._names_max:
                self._make_room(share, now, kept_seconds, kept_seconds_min)
            if not _make(path, now):
                return False
            self._counts[share] += 1
            return True

    def _make_room(self, share: Path, now: float, kept_seconds: float, kept_seconds_min: float) -> None:
        """Forget what is old: all that need not be kept, and of the rest as little as lets the caller get on."""
        if 0 <= self._full_until.get(share, now) - now <= kept_seconds_min and share in self._full_until:
            raise OverflowError("too many to remember")
        found = sorted((entry.stat().st_mtime, entry.path) for entry in os.scandir(share))
        left = self._names_max - max(1, self._names_max // FREED_PART)
        gone = [
            (at, path)
            for number, (at, path) in enumerate(found)
            if now - at > kept_seconds or (now - at > kept_seconds_min and len(found) - number > left)
        ]
        if gone:
            self._forgotten_until(max(at for at, _ in gone))
        for _, path in gone:
            Path(path).unlink(missing_ok=True)
        self._counts[share] = len(found) - len(gone)
        if self._counts[share] >= self._names_max:
            self._full_until[share] = found[0][0] + kept_seconds_min
            raise OverflowError("too many to remember")
        self._full_until.pop(share, None)

    def _forgotten_until(self, at: float) -> None:
        marker = self._folder / SINCE
        if os.stat(marker).st_mtime < at:
            os.utime(marker, (at, at))


def _make(path: Path, at: float) -> bool:
    """Make an empty file of that time, durably, unless it is there. Raises OSError."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _make(path, at)
    try:
        os.utime(file, (at, at))
        os.fsync(file)
    finally:
        os.close(file)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
