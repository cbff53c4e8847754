"""A streaming standby of a stack's Postgres: made by pg_basebackup, cut off, and put in the primary's place.

It takes over the primary's address, as behind a virtual IP or a name: processes that were never stopped meet it there.
"""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
import psutil
import psycopg

from finance.workshop.devstack import Stack, processes
from finance.workshop.devstack import postgres as server
from finance.workshop.devstack.ports import pick
from finance.workshop.devstack.processes import Launch
from finance.workshop.devstack.server import Site
from finance.workshop.devstack.state import State
from tests.support.backups import stop
from tests.support.waits import until

NAME = "standby"
CERTIFICATES = ("sslrootcert", "sslcert", "sslkey")


@dataclass
class Standby:
    """Of `primary`, a stack with a Postgres of its own. `url` is its own address, read-only until it is promoted."""

    primary: Stack
    folder: Path
    state: State
    process: psutil.Process

    @property
    def url(self) -> str:
        return server.dsn(self.state)

    def ask(self, query: str) -> object:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
            return None if row is None else row[0]

    def wait_caught_up(self) -> None:
        """Until it has everything that the primary has now."""
        with psycopg.connect(server.dsn(self.primary.place.load()), autocommit=True) as connection:
            row = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        assert row is not None
        until("the standby has caught up", lambda: bool(self.ask(f"SELECT pg_last_wal_replay_lsn() >= '{row[0]}'")))

    def cut_off(self) -> None:
        """Nothing reaches it from now on."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")
        until("nothing is received", lambda: self.ask("SELECT count(*) FROM pg_stat_wal_receiver") == 0)

    def take_over(self) -> None:
        """The primary is killed, and this server serves in its place, promoted, at its address."""
        self.primary.kill("postgres")
        stop(self.process.pid)
        place = self.primary.place.data("postgres")
        place.rename(place.with_name("postgres.lost"))
        self.folder.rename(place)
        self.primary.start("postgres")
        with psycopg.connect(server.dsn(self.primary.place.load()), autocommit=True) as connection:
            assert connection.execute("SELECT pg_promote()").fetchone() == (True,)


@contextmanager
def standby_of(primary: Stack) -> Iterator[Standby]:
    """A standby that streams from the primary; gone at the end, unless it took over."""
    state = primary.place.load()
    site = Site(primary.place, state, primary.say)
    launch = server.Postgres().prepare(site)
    folder = primary.place.path / NAME
    address = server.dsn(state, "postgres", server.BACKUP_ROLE)
    tool = Path(primary.env["PG_BIN"]) / "pg_basebackup"
    command = [
        str(tool),
        "--dbname",
        address,
        "--pgdata",
        str(folder),
        "--wal-method=stream",
        "--checkpoint=fast",
        "--no-sync",
    ]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PGAPPNAME": NAME})
    own = msgspec.structs.replace(state, ports={**state.ports, "postgres": pick(state.ports.values(), random.Random())})
    (folder / "standby.signal").touch()
    conninfo = _of_the_server(address, folder)
    (folder / "postgresql.auto.conf").write_text(f"primary_conninfo = '{conninfo}'\n")
    _give_to(folder, launch.run_as)
    standby = Standby(primary, folder, own, _start(launch, folder, own))
    until("the standby answers", lambda: server.Postgres().is_ready(own))
    try:
        yield standby
    finally:
        if standby.process.is_running():
            stop(standby.process.pid)
        shutil.rmtree(folder, ignore_errors=True)


def _start(launch: Launch, folder: Path, own: State) -> psutil.Process:
    """The primary's own command, on another directory and port."""
    command = list(launch.command)
    command[command.index("-D") + 1] = str(folder)
    command = [f"port={own.ports['postgres']}" if part.startswith("port=") else part for part in command]
    moved = dataclasses.replace(launch, command=command, directory=folder)
    record = processes.spawn(moved, folder.with_name("logs") / f"{NAME}.log", processes.marker_of(folder.parent, NAME))
    return psutil.Process(record.pid)


def _of_the_server(address: str, folder: Path) -> str:
    """The address with certificates that the server's own user may read: copies beside its data."""
    parts = urlsplit(address)
    options = dict(parse_qsl(parts.query))
    for name in CERTIFICATES & options.keys():
        copy = folder / f"standby-{Path(options[name]).name}"
        shutil.copy(options[name], copy)
        options[name] = str(copy)
    return urlunsplit(parts._replace(query=urlencode(options)))


def _give_to(folder: Path, run_as: tuple[int, int] | None) -> None:
    folder.chmod(0o700)
    if run_as is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, *run_as)
