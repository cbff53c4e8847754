"""Restored, lived on, and restored again: each life comes back from where it belongs, also when the old ones went."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from finance.recovery.backup.base.cluster import server_owner
from finance.workshop.devstack import Stack
from tests.support.backups import (
    finance,
    lsn,
    notes,
    own_server,
    restored,
    streaming,
    switch,
    until_stored,
    write,
)
from tests.support.buckets import create_bucket
from tests.support.databases import role_url


def served_by(environ: Mapping[str, str], url: str) -> dict[str, str]:
    """The settings of the cluster that serves there now."""
    return {**environ, "DATABASE_URL": url, "DATABASE_URL_BACKUP": role_url(url, "finance_backup")}


@contextmanager
def lived_on(environ: dict[str, str], folder: Path, name: str, *to: str) -> Iterator[tuple[dict[str, str], str]]:
    """The next life, from that moment on, with its WAL streamed, until it is lost."""
    with restored(environ, folder / name, *to) as url:
        life = served_by(environ, url)
        with streaming(life, "--also", environ["SECOND"]):
            yield life, url
            until_stored(life, lsn(url))


def test_every_life_comes_back_and_the_pruned_place_still_restores_the_newest(stack: Stack) -> None:
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    with own_server(stack, "lives") as (own, server), process_of_the_server_owner() as another:
        folder = own.place.path
        environ = {**inherited, **stack.env, **server, "BACKUP_PARTIAL_SECONDS": "1", "BACKUP_KEEP_DAYS": "1"}
        environ |= {"BACKUP_PLACE": f"s3://{create_bucket(stack.env)}", "SECOND": str(folder / "second")}
        also = ("--also", environ["SECOND"])
        url = environ["DATABASE_URL"]
        finance(environ, "migrate")
        with streaming(environ, *also):
            finance(environ, "backup", "create", *also)
            moment = write(url, "a")
            write(url, "b")
            switch(url)
            until_stored(environ, lsn(url))
        with lived_on(environ, folder, "2", "--to", moment) as (life, url):
            write(url, "c")
            name_as_owner_of_socket(folder / "2", another.pid)
            backup = finance(life, "backup", "create", *also)["backup_id"]
            write(url, "d")
        with lived_on(environ, folder, "3", "--to", "latest") as (life, url):
            assert notes(url) == ["a", "c", "d"]
            write(url, "e")
        assert finance(environ, "backup", "verify", *also)["findings"] == []
        with restored(environ, folder / "left", "--to", "latest", "--timeline", "1") as url:
            assert notes(url) == ["a", "b"]

        policy = {"BACKUP_KEEP_DAYS": "0", "BACKUP_KEEP_LAST": "1"}
        told = finance({**environ, **policy}, "backup", "prune")
        assert (told["backups"], told["files"], told["kept"]) == ([], 0, [backup])
        assert told["locked"]
        pruned = {**environ, **policy, "BACKUP_PLACE": environ["SECOND"]}
        told = finance(pruned, "backup", "prune")
        assert (len(told["backups"]), told["locked"], told["kept"]) == (1, [], [backup])
        for place in (environ, pruned):
            assert finance(place, "backup", "verify")["findings"] == []
        with restored(pruned, folder / "last", "--to", "latest") as url:
            assert notes(url) == ["a", "c", "d", "e"]


def name_as_owner_of_socket(directory: Path, pid: int) -> None:
    """As if the number of the dead server's process had gone to another process of its user by the next restore: a
    server that finds a living owner in the lock file of a socket does not start."""
    lock = directory / ".s.PGSQL.5432.lock"
    _, rest = lock.read_text().split("\n", 1)
    lock.write_text(f"{pid}\n{rest}")


@contextmanager
def process_of_the_server_owner() -> Iterator[subprocess.Popen[bytes]]:
    user, group = server_owner() or (None, None)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=user, group=group) as process:
        yield process


def test_a_killed_stream_leaves_no_receiver_that_holds_the_slot(stack: Stack) -> None:
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    with own_server(stack, "left") as (_, server):
        environ = {**inherited, **stack.env, **server, "BACKUP_PARTIAL_SECONDS": "1"}
        with streaming(environ) as stream:
            until_stored(environ, lsn(environ["DATABASE_URL"]))
            stream.kill()
        with streaming(environ):
            write(environ["DATABASE_URL"], "a")
            until_stored(environ, lsn(environ["DATABASE_URL"]))
        assert receivers(environ["BACKUP_SPOOL"]) == []


def receivers(spool: str) -> list[str]:
    """Processes that receive into a spool."""
    found = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if "pg_receivewal" in line and spool in line]
