"""A restored data directory, started on a socket of its own with settings of its own, until it is promoted.

Guarantees: nothing of the lost server's configuration acts (its archive_command, its listen addresses, its
authentication): the copy listens on no port, and on a Unix socket in a folder that is its OS user's alone, which is who
may come in (and root). For drills and inspection.
Does not: run a ledger: production starts the directory as its service, with its own configuration.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import psycopg

from finance.recovery.backup.tools import Tools
from ledger_core.errors import Refused, Unavailable

LOG: Final = "finance_restore.log"
SOCKETS_PREFIX: Final = "finance-restored-"
HBA: Final = "local all all trust\nlocal replication all trust\n"
SOCKET: Final = ".s.PGSQL.5432"
SOCKET_PATH_BYTES_MAX: Final = 103  # of macOS, the least: sockaddr_un holds no more
SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",  # in the socket's name alone
    "archive_mode": "off",
    "hot_standby": "off",  # who can connect meets a promoted server; and no setting must be that of the lost one
    "ssl": "off",
    "max_wal_size": "4GB",
    "shared_buffers": "256MB",
    "timezone": "UTC",
    "logging_collector": "off",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """One server that was started here."""

    process: subprocess.Popen[bytes]  # of the postmaster
    directory: Path  # PGDATA
    sockets: Path  # folder of its Unix socket; it has no TCP port

    def stop(self) -> None:
        """End it, with a checkpoint; the directory stays."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.sockets != self.directory:
            shutil.rmtree(self.sockets, ignore_errors=True)


def server_owner() -> tuple[int, int] | None:
    """Postgres refuses to run as root: then it is the user `postgres`, or `nobody` where there is none. Raises Refused
    when there is neither.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    raise Refused("there is no OS user `postgres`", remedy="run as the OS user of the server, not as root")


def start(tools: Tools, directory: Path, owner: tuple[int, int] | None) -> Cluster:
    """Start the server; it is recovering when this returns."""
    config, hba = directory / "finance_restore.conf", directory / "finance_restore_hba.conf"
    sockets = _sockets(directory, owner)
    config.write_text("".join(f"{name} = '{value}'\n" for name, value in SETTINGS.items()))
    hba.write_text(HBA)
    if owner is not None:
        for path in (config, hba):
            os.chown(path, *owner)
    command = [tools.path("postgres"), "-D", str(directory), "-c", f"config_file={config}", "-c", f"hba_file={hba}"]
    with (directory / LOG).open("ab") as log:
        process = subprocess.Popen(  # noqa: S603
            [*command, "-c", f"unix_socket_directories={sockets}"],
            cwd="/",
            env=dict(tools.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=owner[0] if owner else None,
            group=owner[1] if owner else None,
            extra_groups=[] if owner else None,
        )
    return Cluster(process, directory, sockets)


def _sockets(directory: Path, owner: tuple[int, int] | None) -> Path:
    """The data directory, which is its OS user's alone; a folder like it where that path is too long for a socket."""
    if len(os.fsencode(directory / SOCKET)) <= SOCKET_PATH_BYTES_MAX:
        return directory
    folder = Path(tempfile.mkdtemp(prefix=SOCKETS_PREFIX))
    if owner is not None:
        os.chown(folder, *owner)
    return folder


def wait_promoted(cluster: Cluster, dsn: str, seconds_max: float, tick: Callable[[], None] = lambda: None) -> None:
    """Wait until the server has recovered and serves. Raises Unavailable with the end of its log."""
    deadline = time.monotonic() + seconds_max
    while True:
        try:
            with psycopg.connect(dsn, connect_timeout=2) as connection:
                if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,):
                    return
        except psycopg.OperationalError:
            pass
        if cluster.process.poll() is not None or time.monotonic() > deadline:
            raise Unavailable("postgres", f"the restored server does not come up: {log_end(cluster.directory)}")
        tick()
        time.sleep(0.1)


def log_end(directory: Path) -> str:
    text = (directory / LOG).read_text(errors="replace") if (directory / LOG).exists() else ""
    return " | ".join(text.splitlines()[-8:])


def dsn_at(dsn: str, sockets: Path, user: str | None = None) -> str:
    """The same database and user by a socket, without a password: who gets there is the server's own OS user."""
    parts = urlsplit(dsn)
    name = user or parts.username or "postgres"
    return urlunsplit(parts._replace(netloc=f"{quote(name)}@", query=urlencode({"host": str(sockets)})))
