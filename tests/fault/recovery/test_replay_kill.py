"""kill -9 of a replay, at random moments and in the middle of its batches: run again, it ends the same.

REPLAY_KILLS says how many (hundreds take minutes). The victim is the whole tree, or the parent alone, whose workers
must then end by themselves; a worker that finishes its batch meanwhile is fenced off by the heads, like any rival.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from finance.workshop.devstack import Stack
from tests.support import databases
from tests.support.mixed_events import mixed
from tests.support.posting_runs import check_journal, check_ledger, post_all, publish, rows, tables
from tests.support.replay_runs import empty_database, live_ledger, replay, start
from tests.support.route import with_limit
from tests.support.topics import TOPOLOGY
from tests.support.waits import PATIENCE_SECONDS

pytestmark = pytest.mark.services

KILLS = int(os.environ.get("REPLAY_KILLS", "8"))
EVENTS = max(2000, 50 * KILLS)  # so that something is left for the last kill
BATCH = 40


@pytest.fixture
def target(stack: Stack) -> Iterator[str]:
    url = empty_database(stack.env["DATABASE_URL"], f"replay_{uuid.uuid4().hex[:12]}")
    yield url
    databases.drop_database(stack.env["DATABASE_URL"], url)


def offsets_of(dsn: str) -> int:
    """How far the target is; 0 while it has no tables."""
    try:
        return int(rows(dsn, "SELECT coalesce(sum(next_offset), 0)::int FROM shards")[0][0])
    except psycopg.errors.UndefinedTable:
        return 0


def workers(pid: int) -> list[psutil.Process]:
    """Its workers; none when the replay ended by itself meanwhile."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def test_killed_again_and_again_a_replay_ends_the_same_and_a_poster_carries_on(
    environ: dict[str, str], target: str, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)
    topology = tmp_path / "topology.yaml"
    topology.write_text(with_limit(TOPOLOGY.read_text(), "poster_batch_records_max", BATCH))
    slow = {**environ, "FINANCE_TOPOLOGY": str(topology)}
    live_ledger(environ, EVENTS)
    whole = offsets_of(environ["DATABASE_URL"])
    moved = 0
    for number in range(KILLS):
        running = start(slow, "--into", target, "--json")
        before = offsets_of(target)
        wanted = before + dice.randrange(max(1, 2 * (whole - before) // (KILLS - number + 1)))
        deadline = time.monotonic() + (dice.uniform(0, 3) if number % 4 == 0 else PATIENCE_SECONDS)
        while offsets_of(target) <= wanted and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        tree = workers(running.pid) if number % 2 else []
        running.kill()
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        running.communicate()
        moved += offsets_of(target) > before
    assert moved >= KILLS // 4, f"seed {seed}: hardly any kill came in the middle"
    told = replay(slow, "--into", target)
    assert told["ok"], f"seed {seed}"
    assert tables(target) == tables(environ["DATABASE_URL"]), f"seed {seed}"
    check_ledger(target)
    publish(environ, mixed(200, 9, first=100_000))
    post_all(environ, dsn=target)
    check_ledger(target)
    check_journal(environ, target)
