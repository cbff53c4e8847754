"""Postgres's own tools (pg_basebackup, pg_receivewal, pg_waldump, postgres): found, and run without a shell.

Guarantees: a tool that is missing is Refused before anything starts; a password reaches a tool by its environment and
never by its command line.
Does not: install anything.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ledger_core.errors import Refused, Unavailable

SAID_CHARS_MAX = 600


@dataclass(frozen=True, slots=True)
class Tools:
    """`folder` holds the tools; None: they are on PATH."""

    folder: Path | None
    environ: Mapping[str, str] = field(repr=False)  # that the tools are started with

    def path(self, name: str) -> str:
        """Raises Refused."""
        found = shutil.which(name, path=str(self.folder) if self.folder else self.environ.get("PATH"))
        if found is None:
            raise Refused(
                f"{name} is not in {self.folder or 'PATH'}",
                remedy="install the client tools of the server's version of Postgres, or name their folder with PG_BIN",
            )
        return found

    def start(self, name: str, arguments: Sequence[str], dsn: str, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a tool that talks to the server at `dsn`, its stdout to be read."""
        address, password = without_password(dsn)
        environment = {**self.environ, "PGAPPNAME": "finance backup", **({"PGPASSWORD": password} if password else {})}
        return subprocess.Popen(  # noqa: S603
            [self.path(name), "--dbname", address, "--no-password", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )

    def run(self, name: str, arguments: Sequence[str]) -> tuple[int, str]:
        """Run a tool that needs no server to its end: its exit code, and what it said on both channels."""
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(  # noqa: S603
                [self.path(name), *arguments],
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            output.seek(0)
            return done.returncode, output.read().decode(errors="replace")


def without_password(dsn: str) -> tuple[str, str | None]:
    """The address without its password, and the password: a command line is read by everybody on the machine. Raises
    Refused for a key with a passphrase, which no environment carries, and for what is not an address."""
    try:
        given = conninfo_to_dict(dsn)
    except ProgrammingError:  # its words repeat what it could not read
        given = {"sslpassword": None}
    if "sslpassword" in given or "@" in str(given.get("host", "")):
        raise Refused(
            "the database's address has an sslpassword, or cannot be read",
            remedy="use a client key without a passphrase, readable by this user alone; percent-encode other passwords",
        )
    password = given.pop("password", None)
    return make_conninfo("", **given), None if password is None else str(password)


def said(stderr: IO[bytes]) -> str:
    """The end of what a tool wrote."""
    stderr.seek(0)
    return " ".join(stderr.read().decode(errors="replace").split())[-SAID_CHARS_MAX:] or "it said nothing"


def failed(name: str, code: int, stderr: IO[bytes]) -> Unavailable:
    return Unavailable("postgres", f"{name} ended with {code}: {said(stderr)}")
