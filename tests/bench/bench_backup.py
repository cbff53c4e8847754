"""What a ledger of so many entries costs to back up, stream and restore: MB/s, entries/s, memory of the command.

    make bench BENCH_ARGS="backup -- --entries 1000000"

A Postgres of its own is filled by `finance rebuild` from a made-up archive while WAL is streamed; then one backup, and
one restore to the latest that starts the server. Figures are of the whole command, its start included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from finance.workshop.devstack import Stack
from tests.bench.bench_rebuild import write
from tests.bench.bench_verify import make_archive
from tests.bench.figures import show
from tests.support.archive_factory import Key
from tests.support.backups import lsn, stop, streaming, until_stored
from tests.support.rebuilds import run

STATE_ROOT = Path(__file__).parents[2] / ".finance"


def timed(environ: dict[str, str], *arguments: str) -> tuple[dict[str, Any], float, int]:
    """A command's answer, its seconds, and its memory in MB at most."""
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "finance", *arguments, "--json"], env=environ, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    told = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    assert status == 0, told
    return json.loads(told), time.perf_counter() - began, used.ru_maxrss // 1024


def measure(entries: int, up: Stack, *, s3: bool) -> dict[str, float | int]:
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    environ, key = {**inherited, **up.env}, Key("rsa-sha256")
    if s3:
        environ["BACKUP_PLACE"] = f"s3://{up.env['S3_AUDIT_BUCKET']}/backups"
    url = environ["DATABASE_URL"]
    with tempfile.TemporaryDirectory(dir=STATE_ROOT) as scratch, streaming(environ):
        store, _ = make_archive(entries, key, 0)
        write(store, Path(scratch))
        assert run(url, key.registry, scratch, workers_max=1).sound
        filled_at = time.perf_counter()
        until_stored(environ, lsn(url))
        caught_up = time.perf_counter() - filled_at
        backup, backup_seconds, backup_mb = timed(environ, "backup", "create")
        until_stored(environ, lsn(url))
    target = up.place.path / "restored"
    told, restore_seconds, restore_mb = timed(
        environ, "backup", "restore", "--to", "latest", "--start", "--target", str(target)
    )
    try:
        with psycopg.connect(told["database_url"]) as connection:
            row = connection.execute("SELECT seq FROM shards").fetchone()
        assert row == (entries,), row
    finally:
        stop(told["pid"])
    size = backup["size_bytes"]
    return {
        "entries": entries,
        "database_mb": size // 10**6,
        "stored_mb": backup["stored_bytes"] // 10**6,
        "stream_behind_seconds": round(caught_up, 1),
        "backup_seconds": round(backup_seconds, 1),
        "backup_mb_per_second": round(size / 1e6 / backup_seconds),
        "backup_memory_mb_max": backup_mb,
        "restore_seconds": round(restore_seconds, 1),
        "restore_mb_per_second": round(size / 1e6 / restore_seconds),
        "restore_entries_per_second": round(entries / restore_seconds),
        "restore_memory_mb_max": restore_mb,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench_backup", description=__doc__.split("\n\n")[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--s3", action="store_true", help="into a bucket with Object Lock, not a folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    up = Stack.up(
        f"bench-backup-{os.getpid()}",
        STATE_ROOT,
        services=("postgres", "kms", *(["s3"] if options.s3 else [])),
        say=lambda _line: None,
    )
    try:
        figures = measure(options.entries, up, s3=options.s3)
    finally:
        up.remove()
    show(figures, as_json=options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
