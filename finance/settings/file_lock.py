"""Locks on files (flock): one process at a time, and whoever does not get one learns who has it.

Guarantees: no lock is waited for without an end; it ends with its process, however that ends. A refusal names the
process that has it, by pid, command, user and host, where the kernel says so (Linux, and on this host: over NFS a lock
may be another host's).
Does not: keep out those who do not ask.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ledger_core.errors import Refused

POLL_SECONDS: Final = 0.1
LOCKS: Final = Path("/proc/locks")
REMEDY: Final = "let it end, or end it (`kill PID`), then try again"


def lock_file(
    file: int,
    what: str,
    *,
    seconds_max: float = 0,
    remedy: str = REMEDY,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Lock an open file or folder until it is closed; `what` says what another process does meanwhile. Waits for
    `seconds_max`. Raises Refused, naming who has it, and OSError where nothing can be locked."""
    deadline = monotonic() + seconds_max
    while not locked(file):
        if monotonic() >= deadline:
            raise Refused(f"{what}: {holder_words(file)}", remedy=remedy)
        sleep(POLL_SECONDS)


def locked(file: int) -> bool:
    """Whether the lock was free, and is ours now. Raises OSError where nothing can be locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder_words(file: int) -> str:
    """Who has the lock of an open file."""
    host = socket.gethostname()
    try:
        found = os.fstat(file)
        place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        # "3: FLOCK ADVISORY WRITE 4711 fe:00:9979438 0 EOF"; one that waits has an arrow behind its number
        rows = (line.split() for line in LOCKS.read_text().splitlines())
        pid = next((row[4] for row in rows if row[1] == "FLOCK" and row[5] == place), None)
        if pid is None:
            return f"a process of another host than {host}, or one that has ended by now"
        folder = Path("/proc") / pid
        return f"process {pid} ({folder.joinpath('comm').read_text().strip()}) of user {folder.stat().st_uid} on {host}"
    except (OSError, IndexError):
        return f"a process that {host} does not name"
