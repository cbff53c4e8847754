"""A jar from Maven is used only with the bytes that were locked."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from finance.workshop.devstack.jars import LOCK, POSTGRES_BUILDS, POSTGRES_VERSION, check_jars, read_lock
from ledger_core.errors import Refused


@pytest.fixture
def jars(tmp_path: Path) -> tuple[list[Path], Path]:
    """Two jars, and their lock."""
    made = [tmp_path / "a-1.0.jar", tmp_path / "b-2.0.jar"]
    for jar in made:
        jar.write_bytes(jar.name.encode())
    lock = tmp_path / "jars.lock"
    lock.write_text("".join(f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in made))
    return made, lock


def test_jars_as_they_were_locked_are_used(jars: tuple[list[Path], Path]) -> None:
    assert check_jars(jars[0], jars[1]) == jars[0]


def test_other_bytes_and_a_jar_that_nobody_locked_are_refused(jars: tuple[list[Path], Path]) -> None:
    made, lock = jars
    made[1].write_bytes(b"other")
    with pytest.raises(Refused, match=r"b-2\.0\.jar has SHA-256 d9298a10"):
        check_jars(made, lock)
    stranger = made[0].with_name("c-3.0.jar")
    stranger.write_bytes(b"")
    with pytest.raises(Refused, match=r"jars\.lock says nothing"):
        check_jars([stranger], lock)


def test_the_lock_names_what_the_stack_takes() -> None:
    locked = read_lock(LOCK)
    assert list(locked) == sorted(locked)
    assert all(len(digest) == 64 and int(digest, 16) for digest in locked.values())
    assert {"kafka_2.13-4.3.1.jar", "log4j-slf4j-impl-2.25.4.jar"} < locked.keys()
    for build in POSTGRES_BUILDS.values():
        assert f"embedded-postgres-binaries-{build}-{POSTGRES_VERSION}.jar" in locked
