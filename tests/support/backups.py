"""A cluster of its own to back up, lose and restore: the suite's own server is never restored over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg

from finance.recovery.backup.assembly import copies_of
from finance.recovery.backup.place.catalogue import read_stream_state, systems
from finance.recovery.backup.wal import parse_lsn
from finance.settings.deployment import Settings
from finance.workshop.devstack import Stack
from tests.conftest import STATE_ROOT
from tests.support.waits import until

ROOT = Path(__file__).parents[2]


@contextmanager
def own_server(stack: Stack, purpose: str) -> Iterator[tuple[Stack, dict[str, str]]]:
    """A Postgres beside the suite's stack and as secure as that, wiped at the end; its settings, over the stack's."""
    secure = "FINANCE_TLS_DIR" in stack.env
    own = Stack.up(f"{stack.place.name}-{purpose}", STATE_ROOT, services=("postgres",), secure=secure)
    names = ("DATABASE_URL", "BACKUP_", "PG_BIN")  # its own certificates are named in the addresses
    try:
        yield own, {name: value for name, value in own.env.items() if name.startswith(names)}
    finally:
        own.remove()


def finance(environ: Mapping[str, str], *arguments: str, code: int | None = 0) -> dict[str, Any]:
    """Run a command with --json; its answer. `code` None: any."""
    done = subprocess.run(
        [sys.executable, "-m", "finance", *arguments, "--json"], cwd=ROOT, env=dict(environ), capture_output=True
    )
    assert code is None or done.returncode == code, (done.returncode, done.stdout.decode(), done.stderr.decode())
    return dict(json.loads(done.stdout))


@contextmanager
def streaming(environ: Mapping[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`finance backup stream` as a child; it stores what there is when the block ends, unless it was killed."""
    child = subprocess.Popen(
        [sys.executable, "-m", "finance", "backup", "stream", *arguments],
        cwd=ROOT,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
        child.wait(300)


def write(url: str, text: str) -> str:
    """Commit one row; the server's time after it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS notes (n serial, note text)")
        connection.execute("INSERT INTO notes (note) VALUES (%s)", (text,))
        time.sleep(0.01)
        row = connection.execute('SELECT to_char(clock_timestamp(), \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\')').fetchone()
        assert row is not None
        time.sleep(0.01)
        return str(row[0])


def notes(url: str) -> list[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [row[0] for row in connection.execute("SELECT note FROM notes ORDER BY n")]


def lsn(url: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        assert row is not None
        return str(row[0])


def switch(url: str) -> None:
    """End the WAL segment."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_switch_wal()")


def until_stored(environ: Mapping[str, str], position: str) -> None:
    """Wait until the place holds all WAL before a position."""
    copies = copies_of(Settings.from_env(environ, ROOT), ())

    def reached() -> bool:
        sizes = copies.sizes("")
        states = (read_stream_state(copies, system, sizes) for system in systems(copies))
        return any(state is not None and state.lsn >= parse_lsn(position) for state in states)

    until(f"all WAL before {position} is stored", reached)


@contextmanager
def restored(environ: Mapping[str, str], directory: Path, *arguments: str) -> Iterator[str]:
    """Restore and start; the address of what serves."""
    told = finance(environ, "backup", "restore", "--start", "--target", str(directory), *arguments)
    try:
        assert not psutil.Process(told["pid"]).net_connections("inet"), "it trusts whoever comes: nobody may"
        yield str(told["database_url"])
    finally:
        stop(told["pid"])


def stop(pid: int) -> None:
    """End a server that is no child of ours."""
    os.kill(pid, signal.SIGINT)
    until("the server ends", lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
