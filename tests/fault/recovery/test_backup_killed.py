"""kill -9 during a backup, the stream or a restore: running the command again ends the same.

`FINANCE_KILLS=100` for as many of each (default 2): the suite takes a handful, a long run takes hundreds.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest

from finance.workshop.devstack import Stack
from tests.support.backups import ROOT, finance, lsn, notes, own_server, restored, streaming, until_stored, write

KILLS = int(os.environ.get("FINANCE_KILLS", "2"))


@pytest.fixture(scope="module")
def cluster(stack: Stack) -> Iterator[tuple[Stack, dict[str, str]]]:
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    with own_server(stack, "kill") as (own, server):
        environ = {**inherited, **stack.env, **server, "BACKUP_PARTIAL_SECONDS": "1"}
        finance(environ, "migrate")
        yield own, environ


def killed(environ: dict[str, str], seconds: float, *arguments: str) -> None:
    """Run a command and kill it after so long, with nobody asked."""
    child = subprocess.Popen(
        [sys.executable, "-m", "finance", *arguments],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def test_whatever_is_killed_the_same_comes_back(cluster: tuple[Stack, dict[str, str]]) -> None:
    own, environ = cluster
    url, chance, wanted = environ["DATABASE_URL"], random.Random(7), []
    for number in range(KILLS):
        with streaming(environ) as stream:
            wanted.append(f"note {number}")
            write(url, wanted[-1])
            time.sleep(chance.uniform(0.5, 2.5))
            stream.kill()
        killed(environ, chance.uniform(0.5, 3.0), "backup", "create")
    with streaming(environ):
        backup = finance(environ, "backup", "create")["backup_id"]
        wanted.append("after the backup")
        write(url, wanted[-1])
        until_stored(environ, lsn(url))
    listed = finance(environ, "backup", "list")["backups"]
    assert backup in [item["backup_id"] for item in listed]
    assert finance(environ, "backup", "verify")["ok"]
    for _ in range(KILLS):
        directory = own.place.path / f"restored-{uuid.uuid4().hex[:8]}"
        arguments = ("backup", "restore", "--to", "latest", "--target", str(directory))
        killed(environ, chance.uniform(0.5, 2.0), *arguments)
        if directory.exists():  # it was quicker than the kill: whole, and never written over
            assert finance(environ, *arguments, code=3)["error"]["kind"] == "refused"
            directory = own.place.path / f"restored-{uuid.uuid4().hex[:8]}"
        with restored(environ, directory, "--to", "latest") as copy:
            assert notes(copy) == wanted
