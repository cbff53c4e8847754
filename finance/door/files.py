"""A value that is read from files, and read again when they change, without a restart.

Guarantees: a change that cannot be taken up (half written, broken, gone, no file at all) leaves the last good value
standing, is logged once, and is tried again; a value is whole, never of two moments: it is replaced, not changed. No
change goes unseen that the file system knows of, whatever times and size a file says it has. Reading holds nobody up
for longer than PATIENCE_SECONDS, however long it takes: it has a thread of its own, and until it is done the last good
value stands.
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
RETRY_PART: Final = 10  # what was slow to fail waits so many times as long: a tenth of a processor is the most it takes
PATIENCE_SECONDS: Final = 1.0  # with a change: whoever asks has it at once, where it is read as fast as files are
T = TypeVar("T")
Stamp = tuple[tuple[int, int, int, int] | None, ...]

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
        self._reading: threading.Event | None = None  # set when it is done
        self._patience_until = 0.0

    def current(self) -> T:
        """The value of the files as they are now, or the last good one."""
        with self._lock:
            stamp = self._look()
            if self._reading is None and stamp != self._stamp and not self._has_failed_lately(stamp):
                self._reading = threading.Event()
                # Who has failed before is not waited for again.
                self._patience_until = self._monotonic() + (0.0 if stamp == self._failed else PATIENCE_SECONDS)
                reader = threading.Thread(target=self._take_up, args=(stamp, self._reading), name="door-files")
                reader.daemon = True  # a file system that hangs keeps no process from ending
                reader.start()
            reading, patience_until = self._reading, self._patience_until
        if reading is not None:
            reading.wait(max(0.0, patience_until - self._monotonic()))
        return self._value

    def _has_failed_lately(self, stamp: Stamp) -> bool:
        return stamp == self._failed and self._monotonic() < self._retry_at

    def _take_up(self, stamp: Stamp, done: threading.Event) -> None:
        began = self._monotonic()
        try:
            value = self._read()
        except Exception as error:  # whatever it is: a file that somebody changed shuts no door
            if stamp != self._failed:
                detail = str(error) or type(error).__name__
                log.error("door.reload_failed", what=self._what, detail=detail, then="the last good one stands")
                self._on_failure(self._what)
            ended = self._monotonic()
            self._failed, self._retry_at = stamp, ended + max(RETRY_SECONDS, RETRY_PART * (ended - began))
        else:
            log.info("door.reloaded", what=self._what)
            self._value, self._stamp, self._failed = value, stamp, None
        finally:
            self._reading = None
            done.set()

    def _look(self) -> Stamp:
        return tuple(_stat(path) for path in self._files())


def _stat(path: Path) -> tuple[int, int, int, int] | None:
    """The time of change, which nobody can set, tells apart what a copy or an archive gave one size and time."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino)
