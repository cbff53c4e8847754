"""PgBouncer between a test and the stack's Postgres, in any of its modes: a real one, from the distribution."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

from finance.workshop.devstack.ports import is_free, pick
from tests.support.waits import until

MODES: Final = ("transaction", "session", "statement")
INSTALL: Final = Path(__file__).with_name("install-pgbouncer")


@cache
def program() -> str:
    """The path of PgBouncer, which is installed when it is missing."""
    done = subprocess.run([INSTALL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


@contextmanager
def pooling(server_url: str, mode: str, *, drops: str = "options") -> Iterator[str]:
    """The address `host:port` of a pooler in that mode, in front of the server of this DSN. `drops`: the parameters of
    a login that it leaves out in silence, as it is often told to; others it turns away."""
    port = pick((), random.Random())
    with tempfile.TemporaryDirectory(prefix="pooler-") as folder, (Path(folder) / "log").open("w+") as log:
        settings = Path(folder) / "pgbouncer.ini"
        settings.write_text("\n".join(_settings(Path(folder), server_url, mode, drops, port)), encoding="utf-8")
        as_root = os.geteuid() == 0  # it refuses to run so
        if as_root:
            for path in (Path(folder), *Path(folder).iterdir()):
                shutil.chown(path, "nobody")
        process = subprocess.Popen([program(), settings], stderr=log, user="nobody" if as_root else None)
        try:
            until("the pooler listens", lambda: process.poll() is not None or not is_free(port))
            assert process.poll() is None, Path(log.name).read_text("utf-8")
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def by_way_of(pooler: str, database_url: str) -> str:
    """The same database and role, at the pooler's address, without a certificate."""
    parts = urlsplit(database_url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{pooler}", query=""))


def _settings(folder: Path, server_url: str, mode: str, drops: str, port: int) -> Iterator[str]:
    server = urlsplit(server_url)
    yield from ("[databases]", f"* = host={server.hostname} port={server.port} user={server.username}", "[pgbouncer]")
    yield from ("listen_addr = 127.0.0.1", f"listen_port = {port}", "unix_socket_dir =", "auth_type = any")
    yield from (f"pool_mode = {mode}", f"ignore_startup_parameters = extra_float_digits,{drops}")
    certificates = parse_qs(server.query)
    if "sslcert" in certificates:  # a secure stack: the pooler shows the role's
        yield "server_tls_sslmode = verify-ca"
        for option, parameter in (("ca", "sslrootcert"), ("cert", "sslcert"), ("key", "sslkey")):
            copy = folder / f"{option}.pem"
            shutil.copy(certificates[parameter][0], copy)
            yield f"server_tls_{option}_file = {copy}"
