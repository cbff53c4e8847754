"""What a stack remembers on disk: `<root>/<name>/state.json` (ports, processes, secrets, keys) and its lock.

Guarantees: the file is replaced atomically and readable by its owner only; one process at a time changes a stack.
Does not: say whether a recorded process still runs (see processes.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from ledger_core.errors import Refused
from producers.storage.whole_file import replace_file

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")
LOCK_WAIT_SECONDS_MAX = 180.0


class ProcessRecord(msgspec.Struct, frozen=True):
    """One server process: pid and start time (seconds since the epoch) together name it beyond pid reuse."""

    pid: int
    created: float


class KeyRecord(msgspec.Struct, frozen=True):
    """One KMS key that was made for this stack, by its registered signer_kid."""

    kid: str
    key_id: str
    algorithm: str


class State(msgspec.Struct):
    """The contents of state.json. Ports by their full name (`postgres`, `kafka`, `kafka.controller`, ...)."""

    services: list[str] = []
    ports: dict[str, int] = {}
    processes: dict[str, ProcessRecord] = {}
    started: list[str] = []  # services whose start was completed: a killed `up` leaves processes that never got there
    secrets: dict[str, str] = {}
    keys: list[KeyRecord] = []
    tls: str = ""  # the folder of the certificates of a secure stack; empty: plain, for ever
    ready_seconds: float | None = None


class StackPlace:
    """The directory of one stack: `state.json`, `env.json`, `signers.json`, `logs/`, `tls/`, one for each server.
    Raises Refused on a bad name.
    """

    def __init__(self, root: Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise Refused(
                f"{name!r} is not a stack name", remedy="use lower-case letters, digits and hyphens, 41 at most"
            )
        self.name = name
        self.root = root.absolute()
        self.path = self.root / name
        self.logs = self.path / "logs"
        self.state_file = self.path / "state.json"
        self.env_file = self.path / "env.json"
        self.signers_file = self.path / "signers.json"
        self.tls = self.path / "tls"
        self.backup_identity_file = self.path / "backup-identity.txt"
        self.lock_file = self.root / f".{name}.lock"

    def data(self, service: str) -> Path:
        """The directory of one server, made if it is missing."""
        path = self.path / service
        path.mkdir(parents=True, exist_ok=True)
        return path

    def load(self) -> State:
        """The remembered state; an empty one when the stack was never started. Refused when the file is broken."""
        try:
            return msgspec.json.decode(self.state_file.read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except msgspec.MsgspecError as error:
            raise Refused(
                f"{self.state_file} cannot be read ({error})",
                remedy=f"run `finance dev reset --name {self.name}`, which wipes this stack",
            ) from error

    def save(self, state: State) -> None:
        write_private(self.state_file, msgspec.json.format(msgspec.json.encode(state), indent=2))

    @contextlib.contextmanager
    def locked(self, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Hold the stack's lock. It belongs to the process, so a killed holder cannot leave it behind. Raises Refused
        when it stays locked.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + LOCK_WAIT_SECONDS_MAX
        waiting = False
        while (handle := _lock(self.lock_file)) is None:
            if not waiting:
                on_wait(f"another command works on stack {self.name!r}: waiting for it")
                waiting = True
            if time.monotonic() > deadline:
                raise Refused(
                    f"stack {self.name!r} stayed locked for {LOCK_WAIT_SECONDS_MAX:.0f} s",
                    remedy="let the other `finance dev` command finish, or use another --name",
                )
            time.sleep(0.1)
        with handle:
            yield


def _lock(path: Path) -> IO[str] | None:
    """Take the lock, or None when it is held, or when its holder removed the file meanwhile."""
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and os.path.samestat(os.fstat(handle.fileno()), path.stat()):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    handle.close()
    return None


def write_private(path: Path, data: bytes) -> None:
    """Replace a file whole; it holds credentials of the stack, so nobody else may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data, mode=0o600)
