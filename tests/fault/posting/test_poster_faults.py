"""The poster as a real process on real servers, killed, frozen, doubled and cut off while events stream in.

Each run ends with the oracle, with the journal read whole, and with a comparison, row by row, to an undisturbed run of
the same records into another database.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from finance.workshop.devstack import Stack
from tests.support import databases
from tests.support.mixed_events import mixed
from tests.support.posting_runs import check_journal, check_ledger, is_done, post_undisturbed, publish, rows, tables
from tests.support.route import Ledger
from tests.support.waits import until

pytestmark = pytest.mark.services

SLICES = 20


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    limits = {"poster_dead_letters_max": 10**9, "poster_dead_letter_window_records": 10**9}
    found = Ledger(environ, tmp_path, {**limits, "poster_batch_records_max": 100, "retry_delay_ms_max": 500})
    yield found
    found.end()


@pytest.fixture
def undisturbed(stack: Stack, database_template: str) -> Iterator[str]:
    url = databases.create_database(stack.env["DATABASE_URL"], database_template)
    yield url
    databases.drop_database(stack.env["DATABASE_URL"], url)


@dataclass
class Stream:
    """`done` when all of it is out; it goes on until `enough` is set, however slow the machine is."""

    done: threading.Event = field(default_factory=threading.Event)
    enough: threading.Event = field(default_factory=threading.Event)


@contextmanager
def _stream(ledger: Ledger, count: int, seed: int, seconds: float) -> Iterator[Stream]:
    """Publish in slices beside the block: twenty, and as many more as the block needs."""
    stream = Stream()
    failed: list[BaseException] = []

    def work() -> None:
        number = 0
        try:
            while number < SLICES or not stream.enough.is_set():
                publish(ledger.environ, mixed(count // SLICES, seed + number, first=number * (count // SLICES)))
                time.sleep(seconds / SLICES)
                number += 1
        except BaseException as error:
            failed.append(error)
        finally:
            stream.done.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield stream
    finally:
        stream.enough.set()
        thread.join()
    assert not failed, failed


def _finish(ledger: Ledger, undisturbed: str) -> None:
    dsn = ledger.environ["DATABASE_URL"]
    until("everything posted and relayed", lambda: is_done(ledger.environ, dsn))
    check_ledger(dsn)
    check_journal(ledger.environ, dsn)
    post_undisturbed(ledger.environ, undisturbed)
    expected, found = tables(undisturbed), tables(dsn)
    for table, wanted in expected.items():
        assert found[table] == wanted, f"{table} differs from an undisturbed run"


def _seq(ledger: Ledger) -> int:
    return int(rows(ledger.environ["DATABASE_URL"], "SELECT coalesce(sum(next_offset), 0) FROM shards")[0][0])


def _wait_progress(ledger: Ledger, published: threading.Event) -> None:
    """Two batches further than what may have been under way; or until nothing more is coming."""
    before = _seq(ledger)

    def told() -> str:
        halts = rows(ledger.environ["DATABASE_URL"], "SELECT * FROM halts")
        return "\n".join([*map(str, halts), *(process.tail(40) for process in ledger.started)])

    until("progress", lambda: _seq(ledger) > before + 200 or published.is_set(), told=told)


def test_killed_at_random_moments_the_poster_ends_with_the_ledger_of_an_undisturbed_run(
    ledger: Ledger, undisturbed: str
) -> None:
    chance = random.Random(7)
    with _stream(ledger, 12_000, seed=1, seconds=16) as stream:
        kills = 0
        while not stream.done.is_set() and kills < 25:
            poster = ledger.start("poster", group=f"life-{kills}")  # spares waiting for the dead member's session
            poster.wait_said("poster.shard_opened", "poster.batch")
            time.sleep(chance.random() * 0.8)
            poster.kill()
            kills += 1
            if kills == 5:
                stream.enough.set()
    assert kills >= 5
    ledger.start("poster", group="last-life")
    _finish(ledger, undisturbed)


def test_frozen_poster_blocks_nobody_and_thawed_writes_nothing_twice(ledger: Ledger, undisturbed: str) -> None:
    """Both own every shard, each in a group of its own: the one that wakes up does not know that it lost."""
    zombie, other = ledger.start("poster", group="one"), ledger.start("poster", group="two")
    for process in (zombie, other):  # before the stream: it must not end while they are still starting
        process.wait_said("poster.shard_opened")
    with _stream(ledger, 8_000, seed=2, seconds=12) as stream:
        for process in (zombie, other):
            process.wait_said("poster.batch", "poster.fenced")
        turns = 0
        while not stream.done.is_set():
            zombie.freeze()
            _wait_progress(ledger, stream.done)
            zombie.thaw()
            other.freeze()
            _wait_progress(ledger, stream.done)
            other.thaw()
            turns += 1
            if turns == 2:
                stream.enough.set()
    assert turns >= 2
    assert zombie.running
    assert other.running
    assert not rows(ledger.environ["DATABASE_URL"], "SELECT 1 FROM halts")
    _finish(ledger, undisturbed)


def test_posters_coming_and_going_share_the_shards(ledger: Ledger, undisturbed: str) -> None:
    with _stream(ledger, 6_000, seed=3, seconds=9) as stream:
        stream.enough.set()
        posters = [ledger.start("poster"), ledger.start("poster")]
        posters[0].wait_said("service.started")
        turn = 0
        while not stream.done.is_set():
            time.sleep(2.0)
            leaving = posters.pop(0)
            posters.append(ledger.start("poster"))
            posters[-1].wait_said("service.started")
            if turn % 2:
                leaving.kill()
            else:
                assert leaving.stop() == 0
            turn += 1
    _finish(ledger, undisturbed)


@pytest.mark.parametrize("service", ["postgres", "kafka"])
def test_crash_of_a_server_in_mid_run_loses_and_doubles_nothing(
    ledger: Ledger, undisturbed: str, stack: Stack, service: str
) -> None:
    poster = ledger.start("poster")
    publish(ledger.environ, mixed(4_000, 4))
    until("a first batch", lambda: _seq(ledger) > 0)
    restart: Callable[[str], None] = stack.start
    try:
        stack.kill(service)
        poster.wait_said("service.unavailable", "relay.waiting")
    finally:
        restart(service)
    publish(ledger.environ, mixed(2_000, 5, first=4_000))
    _finish(ledger, undisturbed)
    assert poster.running
