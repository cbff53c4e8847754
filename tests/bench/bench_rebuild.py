"""How many entries a second `finance rebuild` puts back from an archive in a folder into an empty database.

    make bench BENCH_ARGS="rebuild -- --entries 1000000 --stack NAME"

The archive is made first (three-line settlements, a payable drawn from 100,000 sellers, ranges of 10,000) and verified
on the way as always; Postgres is the stack's (one of its own without --stack). One worker process a shard.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import psycopg

from finance.workshop.devstack import Stack
from producers.storage.archive_file import FileArchiveStore
from tests.bench.bench_verify import make_archive
from tests.bench.figures import show
from tests.support import databases
from tests.support.archive_factory import Key, MemoryStore
from tests.support.rebuilds import check, run

STATE_ROOT = Path(__file__).parents[2] / ".finance"


def write(store: MemoryStore, folder: Path) -> None:
    """Into the folder, object by object, without keeping them in memory."""
    copy = FileArchiveStore(folder)
    for key in list(store.objects):
        copy.add_copy(*store.objects.pop(key)[0])


def measure(entries: int, shards: int, up: Stack, *, oracle: bool) -> dict[str, float | int]:
    key = Key("rsa-sha256")
    name = f"bench_{uuid.uuid4().hex[:8]}"
    server = up.env["DATABASE_URL"]
    dsn = databases.database_at(server, name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    try:
        with tempfile.TemporaryDirectory(dir=STATE_ROOT) as scratch:
            for shard in range(shards):
                store, _ = make_archive(entries // shards, key, shard)
                write(store, Path(scratch))
            began = time.perf_counter()
            rebuilt = run(dsn, key.registry, scratch, workers_max=os.cpu_count())
            seconds = time.perf_counter() - began
        assert rebuilt.sound, rebuilt
        assert sum(item.entries_written for item in rebuilt.shards) == entries // shards * shards
        if oracle:
            check(dsn, key.registry)
    finally:
        databases.drop_database(server, dsn)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    return {
        "entries": entries,
        "shards": shards,
        "seconds": round(seconds, 1),
        "entries_per_second": round(entries / seconds),
        "worker_memory_mb_max": children,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench_rebuild", description=__doc__.split("\n\n")[0])
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--stack", help="a running stack")
    parser.add_argument("--oracle", action="store_true", help="verify the rebuilt ledger, too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    up = Stack.up(options.stack or f"bench-{os.getpid()}", STATE_ROOT, say=lambda _line: None)
    try:
        figures = measure(options.entries, options.shards, up, oracle=options.oracle)
    finally:
        if options.stack is None:
            up.remove()
    show(figures, as_json=options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
