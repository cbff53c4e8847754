"""The demo's route under kill -9: whichever process dies at whatever moment, the ledger ends as if none had.

What is killed are real processes on real sales; what is compared is a second ledger, posted from the same records by a
poster that nobody disturbs.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import psycopg
import pytest

from finance.workshop.devstack import Stack
from finance.workshop.sample_data import sample
from producers.settlement_publisher import SettlementPublisher
from tests.support import databases
from tests.support.kafka import tls
from tests.support.personal_model import found, wanted
from tests.support.route import PROCESSES, Ledger
from tests.support.waits import until

pytestmark = pytest.mark.services

EVENTS = 3_000
EVENTS_PER_SECOND = 150.0
KILLS = 12
LIMITS = {"range_entries_max": 150, "range_idle_seconds": 1, "poster_batch_records_max": 100, "retry_delay_ms_max": 500}

END = """
SELECT (SELECT array_agg((shard, next_offset, seq, head_hash, accounts, posted, duplicates, rejected)::text
                         ORDER BY shard) FROM shards),
       (SELECT md5(string_agg((shard, seq, entry_hash, body)::text, ';' ORDER BY shard, seq)) FROM entries),
       (SELECT md5(string_agg((shard, seq, line_no, account_no, side, amount_minor)::text, ';'
                              ORDER BY shard, seq, line_no)) FROM lines),
       (SELECT md5(string_agg((shard, account_no, debits, credits)::text, ';' ORDER BY shard, account_no))
          FROM balances)"""


@pytest.fixture
def undisturbed(stack: Stack, database_template: str, environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    """Another database on the same topics."""
    url = databases.create_database(stack.env["DATABASE_URL"], database_template)
    roles = {
        name: databases.role_url(url, f"finance_{name.removeprefix('DATABASE_URL_').lower()}")
        for name in environ
        if name.startswith("DATABASE_URL_")
    }
    folder = tmp_path / "undisturbed"
    folder.mkdir()
    ledger = Ledger({**environ, **roles, "DATABASE_URL": url}, folder, LIMITS)
    yield ledger
    ledger.end()
    databases.drop_database(stack.env["DATABASE_URL"], url)


def test_killed_at_random_moments_the_route_ends_with_the_heads_of_an_undisturbed_run(
    environ: dict[str, str], undisturbed: Ledger, tmp_path: Path
) -> None:
    """The seed is told with a failure; a group of its own for each start spares waiting for the dead member."""
    seed = random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)
    ledger = Ledger(environ, tmp_path, LIMITS)
    publishing = threading.Thread(target=_publish, args=(ledger,))
    try:
        processes = ledger.start_all()
        publishing.start()
        for kill in range(KILLS):
            time.sleep(dice.uniform(0.3, 2.5))
            name = PROCESSES[kill] if kill < len(PROCESSES) else dice.choice(PROCESSES)
            processes[name].kill()
            processes[name] = ledger.start(name, group=f"finance-{name}-{kill}")
        publishing.join()
        assert ledger.published == EVENTS, "publishing failed"
        ledger.wait_finished()
        assert [process.stop() for process in processes.values()] == [0] * len(PROCESSES), f"seed {seed}"
        ledger.check()
        assert found(environ) == wanted(environ), f"seed {seed}"
    finally:
        ledger.end()
    poster = undisturbed.start("poster", group="finance-undisturbed")
    until("posted", lambda: undisturbed.ask("SELECT sum(next_offset) FROM shards") == (EVENTS,))
    assert poster.stop() == 0
    assert _end(ledger) == _end(undisturbed), f"seed {seed}"


def _publish(ledger: Ledger) -> None:
    """Sales at a steady rate, so that every kill meets a route at work."""
    topic = ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    began = time.monotonic()
    with SettlementPublisher(
        ledger.environ["KAFKA_BROKERS"],
        topic,
        personal_topic=ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.personal",
        options=tls(ledger.environ["KAFKA_BROKERS"]),
    ) as publisher:
        for number, event in enumerate(islice(sample("2017-03"), EVENTS)):
            publisher.publish(event)
            if number % 10 == 0:
                time.sleep(max(0.0, number / EVENTS_PER_SECOND - (time.monotonic() - began)))
    ledger.published = EVENTS


def _end(ledger: Ledger) -> tuple[object, ...]:
    """Heads, counts, and digests of every entry, line and balance."""
    with psycopg.connect(ledger.environ["DATABASE_URL"]) as connection:
        row = connection.execute(END).fetchone()
    assert row is not None
    return row
