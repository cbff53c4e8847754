"""Server processes: started detached, recognised beyond doubt, stopped without ever touching a stranger.

Guarantees: a pid is signalled only when its start time is the recorded one, or when it carries this stack's marker in
its environment. Servers run in a session of their own, so they survive the command that started them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from finance.workshop.devstack.state import ProcessRecord
from ledger_core.errors import Unavailable

MARKER = "FINANCE_DEVSTACK"
_CREATED_TOLERANCE_SECONDS = 1.5  # psutil adds the boot time, which a stepped clock moves a little
_LOG_LINES_SHOWN = 30

# Children of this process stay referenced, so that they are reaped and no destructor warns about them.
_children: list[subprocess.Popen[bytes]] = []
_children_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one server. `run_as` is the OS user it must run as when we are root: its uid and gid."""

    command: list[str]
    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    run_as: tuple[int, int] | None = None


def marker_of(directory: Path, service: str) -> str:
    return f"{directory}:{service}"


def spawn(launch: Launch, log_file: Path, marker: str) -> ProcessRecord:
    """Start a server detached, with its output appended to `log_file`."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as log:
        process = _start(launch, marker, log)
    with _children_guard:
        _children.append(process)
    return ProcessRecord(pid=process.pid, created=psutil.Process(process.pid).create_time())


def run(launch: Launch, marker: str) -> str | None:
    """Run a server's tool to its end. None when it succeeded, otherwise what it said."""
    with tempfile.TemporaryFile() as output:
        if _start(launch, marker, output).wait() == 0:
            return None
        output.seek(0)
        return output.read().decode(errors="replace").strip()


def _start(launch: Launch, marker: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "WEED_", "AWS_"))}
    return subprocess.Popen(
        launch.command,
        cwd=launch.directory,
        env={**inherited, **launch.environment, MARKER: marker},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        user=launch.run_as[0] if launch.run_as else None,
        group=launch.run_as[1] if launch.run_as else None,
        extra_groups=[] if launch.run_as else None,
    )


def find(record: ProcessRecord | None) -> psutil.Process | None:
    """The recorded process if it still runs; None when it ended, also when its pid was given to another one."""
    if record is None:
        return None
    _reap()
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created) <= _CREATED_TOLERANCE_SECONDS
        return process if same and _runs(process) else None
    except psutil.NoSuchProcess:
        return None


def strays(directory: Path, services: Container[str]) -> list[psutil.Process]:
    """Every process that carries the marker of these services, also those whose start was never written down."""
    _reap()
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            place, _, service = process.environ().get(MARKER, "").rpartition(":")
            if place == str(directory) and service in services and _runs(process):
                found.append(process)
    return found


def stop(process: psutil.Process, stop_signal: signal.Signals, timeout_seconds: float) -> bool:
    """Ask a process to end and wait; kill it after the timeout. True when it ended by itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(stop_signal)
    if _wait_gone([process], timeout_seconds):
        return True
    kill([process])
    return False


def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL processes and their descendants, and wait until they are gone."""
    victims: list[psutil.Process] = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()  # or it forks between the listing and the killing
            victims += [process, *process.children(recursive=True)]
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    _wait_gone(victims, timeout_seconds=10)


def wait_until_ready(
    service: str,
    record: ProcessRecord,
    is_ready: Callable[[], bool],
    timeout_seconds: float,
    said: Callable[[], str],
) -> None:
    """Poll `is_ready()` until it is true. Raises Unavailable with what the server `said` when it dies or hangs."""
    deadline = time.monotonic() + timeout_seconds
    while not is_ready():
        if find(record) is None:
            raise Unavailable(service, f"it ended while starting. It said:\n{said()}")
        if time.monotonic() > deadline:
            raise Unavailable(service, f"not ready after {timeout_seconds:.0f} s. It said:\n{said()}")
        time.sleep(0.05)


def accepts_connections(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def log_size(log_file: Path) -> int:
    return log_file.stat().st_size if log_file.exists() else 0


def log_tail(log_file: Path, from_byte: int) -> str:
    """The last lines written since `from_byte`, without the frames of Java's stack traces, which say nothing here."""
    text = log_file.read_bytes()[from_byte:].decode(errors="replace")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("at ")]
    return "\n".join(lines[-_LOG_LINES_SHOWN:]) or "(it wrote nothing)"


def _wait_gone(victims: list[psutil.Process], timeout_seconds: float) -> bool:
    """Wait until none of them runs. A zombie counts as gone: in a container nobody may ever reap it."""
    deadline = time.monotonic() + timeout_seconds
    while any(_runs(victim) for victim in victims):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
        _reap()
    return True


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _reap() -> None:
    with _children_guard:
        _children[:] = [child for child in _children if child.poll() is None]
