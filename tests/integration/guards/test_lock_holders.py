"""Whoever does not get a lock learns who has it (role and pid, application, host) and what to do about it: a table of
all locks of the project, each held and asked for as it is.

New locks come in by `hold_advisory`, `lock_file`, `jobs.take` or `session`: nothing else in the product takes one.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final

import psycopg
import pytest

from finance.recovery.backup.failures import FILE, count_failure
from finance.recovery.backup.place.copies import Copies
from finance.recovery.backup.streaming.spool import LOCK, Spool
from finance.recovery.drill.leftovers import holding
from finance.settings.file_lock import lock_file
from finance.signing_proxy.log_file import LogFile
from finance.wiring import registry_file
from ledger_core.errors import LockHeld, Refused
from ledger_core.postgres.audit.notary_store import POLL_SECONDS, PostgresAuditStore
from ledger_core.postgres.jobs import take
from ledger_core.postgres.reading.projection_places import bind
from ledger_core.postgres.recovery.replay_target import lock
from ledger_core.postgres.recovery.replication import hold_backup_lock
from ledger_core.postgres.session import session
from ledger_core.postgres.signing.signer_uses import only_changer
from tests.support.databases import role_url

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[3]
DRILL: Final = "finance_drill_topic_0a0b0c0d"
Held = AbstractContextManager[object]


@contextmanager
def locked_table(url: str, table: str) -> Iterator[None]:
    with psycopg.connect(url, application_name="holds it") as connection:
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield


@contextmanager
def locked_projections(url: str) -> Iterator[None]:
    with session(role_url(url, "finance_projector"), application_name="test") as connection:
        bind(connection, "dev", "example.com", "")
    with locked_table(url, "reading.projections"):
        yield


@contextmanager
def held(url: str, take_it: Callable[[psycopg.Connection[tuple[object, ...]]], object]) -> Iterator[None]:
    with session(url, application_name="holds it") as connection:
        take_it(connection)
        yield


def asked(url: str, statement: str) -> None:
    with session(url, application_name="asks", lock_timeout_ms=100) as connection:
        connection.execute(statement.encode())


def asked_for(url: str, take_it: Callable[[psycopg.Connection[tuple[object, ...]]], object]) -> None:
    with session(url, application_name="asks") as connection:
        take_it(connection)


def drilled(url: str) -> None:
    with holding(url, DRILL):
        raise AssertionError("two drills have one name")


def changed(url: str) -> None:
    with only_changer(url):
        raise AssertionError("two commands change signers")


# What is locked -> the role that asks, how it is held, how it is asked for.
DATABASE: Final[dict[str, tuple[str, Callable[[str], Held], Callable[[str], object]]]] = {
    "a table of the ledger": ("api", lambda url: locked_table(url, "halts"), lambda url: asked(url, "TABLE halts")),
    "a table of the read side": (
        "projector",
        locked_projections,
        lambda url: asked(url, "TABLE reading.projections"),
    ),
    "a replay's target": ("", lambda url: held(url, lock), lambda url: asked_for(url, lock)),
    "a drill's database": ("", lambda url: holding(url, DRILL), drilled),
    "a cluster's backups": ("", lambda url: held(url, hold_backup_lock), lambda url: asked_for(url, hold_backup_lock)),
    "changes of signers": ("api", lambda url: held(url, lambda it: take(it, "signers")), changed),
}


@pytest.mark.parametrize("name", DATABASE)
def test_a_session_that_has_it_is_named(database_url: str, name: str) -> None:
    role, hold, ask = DATABASE[name]
    with hold(database_url):
        with pytest.raises((Refused, LockHeld)) as caught:
            ask(role_url(database_url, f"finance_{role}") if role else database_url)
        told = str(caught.value)
        found = re.search(r"session (\d+) of postgres \(([^)]+)\)", told)
        assert found, told
        with psycopg.connect(database_url) as connection:
            its = "SELECT application_name FROM pg_stat_activity WHERE pid = %s AND datname = current_database()"
            assert connection.execute(its, [int(found[1])]).fetchone() == (found[2],), "somebody else was named"
    assert role or "from 127.0.0.1" in told  # a role of a process does not see where others come from
    assert "RUNBOOK, section 14" in told


def test_a_session_of_ones_own_role_is_named_with_its_host(database_url: str) -> None:
    url = role_url(database_url, "finance_api")
    who = r"of finance_api \(holds it\) from 127\.0\.0\.1"
    with held(url, lambda it: take(it, "signers")), pytest.raises(Refused, match=who):
        changed(url)


def test_a_notary_that_stands_by_says_who_leads(database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    url = role_url(database_url, "finance_notary")
    with closing(PostgresAuditStore(url)) as leads, closing(PostgresAuditStore(url)) as waits:
        assert leads.acquire(POLL_SECONDS)
        with caplog.at_level(logging.INFO):
            assert not waits.acquire(4 * POLL_SECONDS)
            assert not waits.acquire(4 * POLL_SECONDS)
    told = [it.getMessage() for it in caplog.records if it.name == "postgres.notary"]
    assert len(told) == 1
    assert re.fullmatch(
        r"the notary's job is held by session \d+ of finance_notary \(finance-notary\) from 127\.0\.0\.1", told[0]
    )


def spool(folder: Path) -> object:
    def look() -> object:
        raise AssertionError("it looked, and was not alone")

    now = lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC)  # noqa: E731
    return Spool(folder, "", Copies([]), look, [], now)  # type: ignore[arg-type]


def registry(folder: Path) -> object:
    return registry_file.change_registry(folder / "signers.json", lambda before: before)


# What is locked -> the file, and how it is asked for.
FILES: Final[dict[str, tuple[str, Callable[[Path], object]]]] = {
    "a spool": (LOCK, spool),
    "a proxy's log": ("log", lambda folder: LogFile(folder / "log", part_bytes_max=1, fsync=os.fsync)),
    "a registry": (".", registry),
}


@pytest.mark.parametrize("name", FILES)
def test_a_process_that_has_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(registry_file, "LOCK_SECONDS_MAX", 0)
    file, ask = FILES[name]
    (tmp_path / file).touch()
    with opened(tmp_path / file) as held_file:
        lock_file(held_file, "nobody")
        with pytest.raises(Refused) as caught:
            ask(tmp_path)
    told = str(caught.value)
    assert re.search(rf": process {os.getpid()} \(.+\) of user {os.getuid()} on {socket.gethostname()}\.", told), told
    assert "kill PID" in told or "a log of its own" in told


def test_a_failure_that_cannot_be_counted_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finance.recovery.backup.failures.LOCK_SECONDS_MAX", 0)
    count_failure(tmp_path, "create")
    before = (tmp_path / FILE).read_bytes()
    with opened(tmp_path / FILE) as held_file:
        lock_file(held_file, "nobody")
        count_failure(tmp_path, "create")
    assert (tmp_path / FILE).read_bytes() == before


@contextmanager
def opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)


TAKES: Final = {
    r"\bflock\(": {"finance/settings/file_lock.py"},
    r"\bpg_(try_)?advisory_(xact_)?lock": {"ledger_core/postgres/holders.py"},
    r"\blockf\(|F_SETLK": set(),
}


@pytest.mark.parametrize("pattern", TAKES)
def test_every_lock_is_taken_where_its_holder_is_named(pattern: str) -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for floor in ("finance", "consumers", "producers", "schemas", "ledger_core")
        for path in (ROOT / floor).rglob("*.py")
        if re.search(pattern, path.read_text()) and "finance/workshop/" not in path.as_posix()
    }
    assert found == TAKES[pattern]
