"""Jars from Maven, resolved by jgo and kept in the user's cache, each held against the SHA-256 in `jars.lock`.

Guarantees: no jar is used that the lock does not name, or that has other bytes than when it was locked: a repository, a
mirror or a cache that gives another one is refused. Does not: say that what was locked is good; who refreshes the lock
(`python -m finance.workshop.jar_lock`) says that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ledger_core.errors import Refused

LOCK: Final = Path(__file__).with_name("jars.lock")
KAFKA: Final = "org.apache.kafka:kafka_2.13:4.3.1"
# Resolved on its own, for its own jar: resolved together, its parent POM turns kafka-clients back to 3.9.
BINDING: Final = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4"  # of the log4j-core that Kafka brings
POSTGRES_VERSION: Final = "18.4.0"
POSTGRES_BUILDS: Final = {
    ("Linux", "x86_64"): "linux-amd64",
    ("Linux", "aarch64"): "linux-arm64v8",
    ("Darwin", "arm64"): "darwin-arm64v8",
    ("Darwin", "x86_64"): "darwin-amd64",
}


def cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finance-devstack"


def postgres_of(build: str) -> str:
    """The coordinate of Postgres for one of POSTGRES_BUILDS."""
    return f"io.zonky.test.postgres:embedded-postgres-binaries-{build}:{POSTGRES_VERSION}"


def jars_of(coordinate: str) -> list[Path]:
    """The jars of one coordinate: with all it needs, but for BINDING. Lets jgo's errors through; raises Refused."""
    return check_jars(resolved(coordinate))


def check_jars(jars: Iterable[Path], lock: Path = LOCK) -> list[Path]:
    """The jars, each as the lock names it. Raises Refused for one that is not, by name."""
    known = read_lock(lock)
    checked = []
    for jar in jars:
        digest = digest_of(jar)
        if known.get(jar.name) != digest:
            locked = known.get(jar.name, "nothing")
            raise Refused(
                f"{jar.name} has SHA-256 {digest}, and {lock.name} says {locked}",
                remedy=f"remove {jar.parent} and try again; if it is the repository's, find out who changed it",
            )
        checked.append(jar)
    return checked


def read_lock(lock: Path) -> dict[str, str]:
    """File name -> SHA-256 (lower-case hex): the lines of sha256sum."""
    return {name: digest for digest, _, name in (line.partition("  ") for line in lock.read_text().splitlines())}


def resolved(coordinate: str) -> list[Path]:
    """The jars as they are served now. Lets jgo's errors through."""
    import jgo

    jars = [Path(jar).absolute() for jar in jgo.build(coordinate, cache_dir=cache_directory() / "jgo").all_jars]
    return [jar for jar in jars if "slf4j-impl" in jar.name] if coordinate == BINDING else jars


def digest_of(jar: Path) -> str:
    """SHA-256, lower-case hex."""
    with jar.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
