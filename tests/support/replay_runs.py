"""A live ledger to be replayed, with everything in it that makes a replay hard, and the command that replays it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from ledger_core.ports import Record
from tests.support.mixed_events import mixed
from tests.support.posting_runs import post_all, publish
from tests.support.settlements import record, sale, settlement

ROOT = Path(__file__).parents[2]
FOREIGN_FROM = 5_000_000  # numbers of the events that both shards are asked for


def spread(count: int, seed: int, *, foreign: int = 40) -> Iterator[Record]:
    """A mixed stream in which some event ids come to both shards: who is first there, no topic says."""
    records = list(mixed(count, seed))
    for number in range(foreign):
        at = (number * 7919) % len(records)
        for shard in (0, 1):
            event = settlement(FOREIGN_FROM + number, lines=sale(2_000 + number))
            records.insert(at + shard * (number % 50), record(0, event, shard=shard))
    return iter(records)


def live_ledger(environ: Mapping[str, str], count: int = 3000, seed: int = 4) -> None:
    """Publish and post it."""
    publish(environ, spread(count, seed))
    post_all(environ)


def empty_database(server_url: str, name: str) -> str:
    """A database with nothing in it at all; its superuser DSN."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


def start(environ: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    """`finance replay --from topic ARGUMENTS`, running."""
    command = [sys.executable, "-m", "finance", "replay", "--from", "topic", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=dict(environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def replay(environ: Mapping[str, str], *arguments: str, exit_code: int = 0) -> dict[str, Any]:
    """The same with --json, to its end, which must be that exit code; what it told."""
    running = start(environ, *arguments, "--json")
    out, err = running.communicate(timeout=300)
    assert running.returncode == exit_code, f"exit {running.returncode}\n{out}\n{err}"
    told: dict[str, Any] = json.loads(out)
    return told
