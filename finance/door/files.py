"""A value that is read from files, and read again when they change, without a restart.

Guarantees: a change that cannot be taken up (half written, broken, gone) leaves the last good value standing, is logged
once, and is tried again every second; a value is whole, never of two moments: it is replaced, not changed.
Does not: watch: it checks when it is asked, which costs one `stat` a file.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog

RETRY_SECONDS: Final = 1.0
T = TypeVar("T")
Stamp = tuple[tuple[int, int, int] | None, ...]

log = structlog.get_logger("door")


class Reloaded(Generic[T]):
    """`read` gives the value and names the files it depends on. Raises Refused at construction, never later."""

    def __init__(
        self,
        what: str,
        files: Callable[[], Sequence[Path]],
        read: Callable[[], T],
        on_failure: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._files, self._read, self._on_failure = what, files, read, on_failure
        self._monotonic = monotonic
        self._lock = threading.Lock()
        read()  # the set of files may depend on what is in them
        self._stamp = self._look()
        self._value = read()
        self._failed: Stamp | None = None
        self._retry_at = 0.0

    def current(self) -> T:
        """The value of the files as they are now, or the last good one."""
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp and not (stamp == self._failed and self._monotonic() < self._retry_at):
                self._take_up(stamp)
            return self._value

    def _take_up(self, stamp: Stamp) -> None:
        try:
            value = self._read()
        except Exception as error:  # whatever it is: a file that somebody changed shuts no door
            if stamp != self._failed:
                detail = str(error) or type(error).__name__
                log.error("door.reload_failed", what=self._what, detail=detail, then="the last good one stands")
                self._on_failure(self._what)
            self._failed, self._retry_at = stamp, self._monotonic() + RETRY_SECONDS
        else:
            log.info("door.reloaded", what=self._what)
            self._value, self._stamp, self._failed = value, stamp, None

    def _look(self) -> Stamp:
        return tuple(_stat(path) for path in self._files())


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
