"""pg_receivewal as a child process; and the one that outlived a stream which was killed.

Guarantees: after `end_left` nothing writes into the spool: a receiver whose stream was killed goes on for ever, holds
the slot, and writes into files that were drained and removed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from finance.recovery.backup.tools import Tools
from ledger_core.errors import Unavailable

PROCESSES: Final = Path("/proc")
END_SECONDS_MAX: Final = 10.0


def start_receiver(tools: Tools, dsn: str, slot: str, spool: Path, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    """Receive into `spool`; it ends when the server goes away."""
    arguments = [_directory(spool), f"--slot={slot}", "--no-loop", "--status-interval=1"]
    return tools.start("pg_receivewal", arguments, dsn, stderr)


def end_left(spool: Path) -> None:
    """End every receiver that writes into `spool`, whose lock the caller holds. Raises Unavailable."""
    deadline = time.monotonic() + END_SECONDS_MAX
    while found := _left(spool):
        if time.monotonic() > deadline:
            raise Unavailable("backup_spool", f"pg_receivewal ({found}) of a killed stream does not end")
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)


def _left(spool: Path) -> list[int]:
    """Found by their command line, which names the spool: a noted pid may have gone to somebody else."""
    wanted, found = os.fsencode(_directory(spool)), []
    for path in PROCESSES.glob("[0-9]*/cmdline"):
        with suppress(OSError):
            arguments = path.read_bytes().split(b"\0")
            if b"pg_receivewal" in arguments[0] and wanted in arguments:
                found.append(int(path.parent.name))
    return found


def _directory(spool: Path) -> str:
    return f"--directory={spool.absolute()}"
