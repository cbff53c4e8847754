"""How often backup commands failed on this host: they end before anybody could scrape them, so the stream reports it.

Guarantees: a failure is counted durably, in BACKUP_SPOOL, also when nothing else answers; where it cannot be counted,
that hides nothing.
Does not: know of other hosts: a command that runs elsewhere is watched by its scheduler.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog

from finance.settings.file_lock import lock_file
from ledger_core.errors import Refused
from schemas.read_file import SETTINGS_BYTES_MAX, read_file

Command = Literal["create", "prune", "verify"]
FILE: Final = "failures.json"
LOCK_SECONDS_MAX: Final = 5.0

log = structlog.get_logger("backup")
_decoder = msgspec.json.Decoder(dict[str, int])


def count_failure(spool: Path, command: Command) -> None:
    """One more."""
    try:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (spool / FILE).open("a+b") as handle:
            lock_file(handle.fileno(), "another command counts a failure", seconds_max=LOCK_SECONDS_MAX)
            counts = failures(spool)
            handle.truncate(0)
            handle.write(msgspec.json.encode({**counts, command: counts.get(command, 0) + 1}))
            handle.flush()
            os.fsync(handle.fileno())
    except (OSError, Refused) as error:
        log.warning("backup.failure_not_counted", command=command, error=str(error))


@contextmanager
def counting_failures(spool: Path, command: Command) -> Iterator[None]:
    """Count whatever ends the block too early."""
    try:
        yield
    except BaseException:
        count_failure(spool, command)
        raise


def failures(spool: Path) -> Mapping[str, int]:
    """By command, since this host began; what cannot be read counts nothing."""
    try:
        return _decoder.decode(read_file(spool / FILE, SETTINGS_BYTES_MAX))
    except (OSError, Refused, msgspec.MsgspecError):
        return {}
