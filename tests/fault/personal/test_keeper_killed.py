"""kill -9 of the keeper inside each of its transactions, and at random moments: two at once, frozen, cut off, while
shops publish and operators erase. It ends with what the topic says (tests/support/personal_model.py).

Each start joins a consumer group of its own, so that it owns every partition, whoever else believes so too.
"""

from __future__ import annotations

import datetime as dt
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from finance.wiring import oracle
from finance.wiring.registry_file import read_registry
from finance.wiring.status import StatusReader
from ledger_core.books.personal import sealed
from schemas.topology.load import load_topology
from tests.support.personal import SALT, data
from tests.support.personal_model import Shops, found, wanted
from tests.support.route import Ledger, Running
from tests.support.settlements import event_id
from tests.support.topics import TOPOLOGY
from tests.support.waits import until

pytestmark = pytest.mark.services

LIMITS = {"retry_delay_ms_max": 500, "keeper_batch_records_max": 20}
KILLS = 12
HELD = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'finance-keeper'
   AND wait_event_type = 'Lock' AND strpos(query, %s) > 0"""
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = %s"
ROW = "SELECT FROM personal_data WHERE event_id = %(id)s FOR UPDATE"
SAME = "INSERT INTO personal_data VALUES (%(id)s, %(digest)s, %(pii)s, %(salt)s, false, DEFAULT, 9, 9)"


class Point(NamedTuple):
    """A keeper comes to `statement`, where `lock` holds it; it dies there, and what its transaction did is undone."""

    before: Callable[[Shops, int], None] | None  # what it has read before it is held
    lock: str  # by the owner of the database, of event `id`
    then: Callable[[Shops, int], None]  # what brings it there
    statement: str  # a part of its text


POINTS = {
    "in front of its cursor": Point(
        None, "LOCK TABLE personal_cursors IN SHARE MODE", Shops.data, "INTO personal_cursors"
    ),
    "between its cursor and its rows": Point(None, SAME, Shops.data, "INSERT INTO personal_data"),
    "between its rows and what it refused": Point(
        None, "LOCK TABLE personal_refused IN SHARE MODE", Shops.empty, "INSERT INTO personal_refused"
    ),
    "while it keeps": Point(Shops.data, ROW, Shops.post, "SET kept"),
    "while it drops": Point(Shops.guess, ROW, Shops.post, "drop_waiting_personal"),
    "while it learns from the chain": Point(
        Shops.data, "LOCK TABLE personal_forgotten IN SHARE MODE", Shops.erase, "take_chained_erasures"
    ),
    "while it forgets": Point(Shops.data, ROW, Shops.erase, "forget_personal"),
}


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    """With a poster and a notary at work."""
    made = Ledger(environ, tmp_path, LIMITS)
    try:
        made.start("poster").wait_said("poster.shard_opened")
        made.start("notary")
        yield made
    finally:
        made.end()


@pytest.fixture
def shops(ledger: Ledger) -> Iterator[Shops]:
    with closing(Shops(ledger.environ)) as made:
        yield made


def check(ledger: Ledger, shops: Shops) -> None:
    """All is kept, refused or gone as the topic says; the ledger and its audit chain are sound."""
    topology = load_topology(TOPOLOGY, topic_prefix=ledger.environ["FINANCE_TOPIC_PREFIX"])
    with closing(StatusReader(ledger.settings, topology)) as reader:

        def done() -> bool:
            status = reader.read(dt.datetime.now(dt.UTC))
            posted = sum(it.progress.seq for it in status.shards if it.progress is not None)
            return posted == shops.posted and status.personal.finished and status.audit.finished

        until("all is done", done, told=lambda: "\n".join(it.tail(6) for it in ledger.started if it.running))
    ours, theirs = found(ledger.environ), wanted(ledger.environ)
    assert (ours.kept, ours.waiting) == (theirs.kept, theirs.waiting)
    assert ours.refused.items() ^ theirs.refused.items() == set()
    assert ours.kept
    assert ours.waiting
    assert set(ours.refused.values()) == {"other_digest", "not_decided"}
    registry = read_registry(ledger.settings.signers_path)
    for report in (
        oracle.check_ledger_of(ledger.settings, registry, lambda _count: None),
        oracle.check_audit_of(ledger.settings, topology, registry, lambda _count: None),
    ):
        assert report.sound, report.findings[:5]


def test_killed_inside_each_transaction_it_keeps_and_forgets_as_if_it_had_not_been(
    ledger: Ledger, shops: Shops
) -> None:
    for number, (name, point) in enumerate(POINTS.items()):
        shops.round()
        victim = ledger.start("keeper", group=f"keeper-{number}")
        victim.wait_said("service.started")
        kill_at(ledger, shops, victim, point, name)
    ledger.start("keeper", group="keeper-last")
    check(ledger, shops)


def kill_at(ledger: Ledger, shops: Shops, victim: Running, point: Point, name: str) -> None:
    n = shops.next()
    pii, salt, same = sealed(data(n), SALT)
    named = {"id": event_id(n), "digest": same, "pii": pii, "salt": salt}
    if point.before is not None:
        point.before(shops, n)
        shops.flush()
        row = f"SELECT count(*) FROM personal_data WHERE event_id = '{event_id(n)}'"
        until("it has read the data", lambda: ledger.ask(row) == (1,), told=victim.tail)
    with psycopg.connect(ledger.environ["DATABASE_URL"]) as owner:
        owner.execute(point.lock.encode(), named if "%(" in point.lock else None)
        point.then(shops, n)
        shops.flush()
        until(f"it is held {name}", lambda: is_held(ledger, point.statement), told=victim.tail)
        victim.kill()
        owner.rollback()


def is_held(ledger: Ledger, statement: str) -> bool:
    with psycopg.connect(ledger.environ["DATABASE_URL"], autocommit=True) as connection:
        return connection.execute(HELD, [statement]).fetchone() != (0,)


def test_two_at_once_killed_frozen_and_cut_off_at_random_keep_what_one_would(ledger: Ledger, shops: Shops) -> None:
    """The seed is told with a failure."""
    seed = random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)
    print(f"seed {seed}")
    pair = [ledger.start("keeper", group=f"keeper-{name}") for name in ("a", "b")]
    for number in range(KILLS):
        shops.round()
        time.sleep(dice.uniform(0.1, 1.5))
        victim = dice.randrange(2)
        act = ("kill", "freeze", "cut")[number % 3]
        if act == "kill":
            pair[victim].kill()
            pair[victim] = ledger.start("keeper", group=f"keeper-{number}")
        elif act == "freeze":
            pair[victim].freeze()
            shops.round()
            time.sleep(dice.uniform(0.1, 1.5))
            pair[victim].thaw()
        else:
            with psycopg.connect(ledger.environ["DATABASE_URL"], autocommit=True) as connection:
                connection.execute(CUT, ["finance_keeper"])
    check(ledger, shops)
    assert all(keeper.running for keeper in pair)
    assert [keeper.stop() for keeper in pair] == [0, 0]
