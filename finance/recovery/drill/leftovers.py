"""What a drill leaves when it is killed (SIGKILL, a lost machine), and its end: the next drill removes it.

A drill holds two locks as long as it runs: one on `drill-<id>.lock` in the state folder, before anything is made here,
and one on the scratch server, before a database is made there. The kernel, and the server, let go of them however the
drill ends.

Guarantees: only what bears the name of a drill whose lock is free is touched: its server, directory and lock file below
the state folder, and databases of its name that our role owns. What a living drill made, here or on another machine,
and what is not a drill's is left alone.
Does not: find what another working directory holds, or drop roles (the next drill uses them again).
"""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
from psycopg import sql

from finance.recovery.backup.base.cluster import SOCKETS_PREFIX
from finance.recovery.backup.base.restore import RESTORING
from finance.recovery.drill.live import APPLICATION
from finance.runtime.workshop_door import open_workshop
from finance.settings.file_lock import lock_file, locked
from ledger_core.postgres.holders import hold_advisory
from ledger_core.postgres.session import Session, session

DRILL_LOCK: Final = 0x4452494C  # "DRIL": the upper half of the key of a drill's advisory lock on its scratch server
LOCK_FILE: Final = re.compile(r"drill-([0-9]{8}T[0-9]{6}Z-[0-9a-f]{8})\.lock")
STOP_SECONDS_MAX: Final = 60
KILL_SECONDS_MAX: Final = 10

# Ours, of a drill, and nobody holds its lock in any database of the server.
LEFT: Final = """
SELECT datname FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
 WHERE datname ~ '^finance_drill_(archive|topic)_[0-9a-f]{8}$' AND r.rolname = current_user
   AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = %s
                      AND l.objid::bigint = ('x' || right(d.datname, 8))::bit(32)::bigint)
 ORDER BY datname"""


@contextmanager
def living(drill_id: str, folder: Path) -> Iterator[None]:
    """Note that this drill runs, and where to find what it leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"drill-{drill_id}.lock"
    making = path.with_suffix(".making")
    with making.open("w") as file:
        lock_file(file.fileno(), f"another drill is {drill_id}")
        making.rename(path)  # never seen unlocked
        try:
            yield
        finally:
            if not _left(folder, drill_id):  # or the next drill tries again
                path.unlink()


def sweep_here(folder: Path) -> list[str]:
    """End and remove what killed drills left below the state folder; what was removed."""
    swept = []
    for path in sorted(folder.glob("drill-*.lock")):
        found = LOCK_FILE.fullmatch(path.name)
        if found is None:
            continue
        with path.open() as file:
            if locked(file.fileno()):  # else that drill lives
                swept += _remove(folder, found[1])
                path.unlink()
    return swept


def restored_directory(folder: Path, drill_id: str) -> Path:
    """Where a drill restores its cluster to."""
    return (folder / "restored" / f"drill-{drill_id}").absolute()


def server_name(drill_id: str) -> str:
    """Of the server that a drill starts when no scratch server is named; also its directory below the state folder."""
    return f"drill-{drill_id[-8:]}"


def _left(folder: Path, drill_id: str) -> list[Path]:
    """What there is of a drill's places."""
    directory = restored_directory(folder, drill_id)
    places = (folder / server_name(drill_id), directory, directory.with_name(directory.name + RESTORING))
    return [path for path in places if path.exists()]


def _remove(folder: Path, drill_id: str) -> list[str]:
    left = _left(folder, drill_id)
    for path in left:
        if path == folder / server_name(drill_id):
            open_workshop().scratch_postgres(path.name, folder).remove()
        else:
            _stop_server(path)
            shutil.rmtree(path)
    return [str(path) for path in left]


def _stop_server(directory: Path) -> None:
    """End the server that runs on the directory, if it is that one: a pid may be another process's by now."""
    try:
        told = (directory / "postmaster.pid").read_text().split("\n")  # its pid first, its sockets' folder fifth
        process = psutil.Process(int(told[0]))
        if str(directory) in process.cmdline():
            _end(process)  # at once: the directory goes too
            if Path(told[4]).name.startswith(SOCKETS_PREFIX):
                shutil.rmtree(told[4], ignore_errors=True)
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return


def _end(process: psutil.Process) -> None:
    """SIGQUIT, and SIGKILL when that is not enough. A server that ends in between has ended."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGQUIT)
    if not _gone(process, STOP_SECONDS_MAX):
        with suppress(psutil.NoSuchProcess):
            process.kill()
        _gone(process, KILL_SECONDS_MAX)


def _gone(process: psutil.Process, seconds_max: float) -> bool:
    """Wait for its end. A zombie has ended: in a container nobody may ever reap it."""
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@contextmanager
def holding(server: str, name: str) -> Iterator[None]:
    """Hold the lock of the scratch database `name` on its server. Raises Refused, naming who has it."""
    with session(server, application_name=APPLICATION) as connection:
        hold_advisory(connection, DRILL_LOCK << 32 | int(name[-8:], 16), f"another drill has {name}")
        yield


def sweep_server(server: str) -> list[str]:
    """Drop the databases that killed drills left on a scratch server; their names."""
    with session(server, application_name=APPLICATION) as connection:
        left = [str(name) for (name,) in connection.execute(LEFT, (DRILL_LOCK,))]
        for name in left:
            drop(connection, name)
    return left


def drop(connection: Session, name: str) -> None:
    """Drop a scratch database, whoever is still connected to it."""
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
