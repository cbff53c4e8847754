"""The projector on real servers: from the journal topic into Postgres, killed and started again, beside another one."""

from __future__ import annotations

import uuid
from contextlib import closing

import psycopg
import pytest

from consumers.kafka.group_source import KafkaSource
from consumers.metrics import NullMetrics
from consumers.reading.projector import Projector
from finance.settings import clock
from finance.workshop.devstack import Stack
from ledger_core.errors import Unavailable
from ledger_core.postgres.connection import connect
from ledger_core.postgres.reading.projection_balances import newest_position, trial_sides
from ledger_core.postgres.reading.projection_store import ProjectionStore
from tests.support import journal_writer
from tests.support.journal_factory import TinyShard
from tests.support.kafka import tls
from tests.support.projections import asking, begun, contents, make_schemas, projection_in
from tests.support.waits import until

pytestmark = pytest.mark.services

ENTRIES = 700
END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE application_name = 'finance-projector' AND datname = current_database()"""


class Reading:
    """A projection of one journal topic, and projectors of one group."""

    def __init__(self, brokers: str, topic: str, database_url: str) -> None:
        make_schemas(database_url)
        self.url, self.place = database_url, begun(database_url)
        self.brokers, self.topic, self.group = brokers, topic, uuid.uuid4().hex

    def store(self) -> ProjectionStore:
        connection = connect(self.url, application_name="finance-projector")
        return ProjectionStore(connection, projection_in(connection, self.place))

    def projector(self) -> Projector:
        return Projector(
            self.store(),
            lambda start, revoked: KafkaSource(self.brokers, self.topic, self.group, start, revoked, tls(self.brokers)),
            batch_records_max=150,
            clock=clock.utc_now,
            metrics=NullMetrics(),
        )

    def position(self) -> dict[int, int]:
        with asking(self.url, self.place) as connection:
            return newest_position(connection)

    def run_to(self, position: dict[int, int]) -> None:
        with closing(self.projector()) as one:
            until("the projection is there", lambda: self.position() == position, between=one.step)


@pytest.fixture
def shards() -> list[TinyShard]:
    return [TinyShard(shard=number).post(ENTRIES) for number in (0, 1)]


@pytest.fixture
def reading(stack: Stack, topic_prefix: str, database_url: str, shards: list[TinyShard]) -> Reading:
    made = Reading(stack.env["KAFKA_BROKERS"], f"{topic_prefix}finance.journal", database_url)
    for shard in shards:
        journal_writer.publish(made.brokers, made.topic, shard, last_seq=400)
    return made


def test_the_whole_journal_becomes_a_projection_and_one_that_is_started_again_goes_on(
    reading: Reading, shards: list[TinyShard]
) -> None:
    reading.run_to({0: 400, 1: 400})
    for shard in shards:
        journal_writer.publish(reading.brokers, reading.topic, shard, first_seq=350)  # some of it again
    reading.run_to({0: ENTRIES, 1: ENTRIES})
    with asking(reading.url, reading.place) as connection:
        sides = trial_sides(connection, reading.position())
        heads = connection.execute("SELECT head FROM shards ORDER BY shard").fetchall()
    assert sum(it.debits for it in sides) == sum(it.credits for it in sides) > 0
    assert heads == [(shard.head,) for shard in shards]


def test_a_gap_in_the_journal_lets_that_shard_stand_and_no_other(reading: Reading, shards: list[TinyShard]) -> None:
    journal_writer.publish(reading.brokers, reading.topic, shards[0], first_seq=450)
    journal_writer.publish(reading.brokers, reading.topic, shards[1], first_seq=401)
    reading.run_to({0: 400, 1: ENTRIES})
    with asking(reading.url, reading.place) as connection:
        assert connection.execute("SELECT max(seq) FROM entries WHERE shard = 0").fetchone() == (400,)
        assert connection.execute("SELECT head FROM shards WHERE shard = 0").fetchone() == (
            shards[0].entries[399].entry_hash,
        )


def test_a_projector_whose_session_is_ended_goes_on_from_what_stands_and_a_new_projection_is_the_same(
    reading: Reading, shards: list[TinyShard]
) -> None:
    with closing(reading.projector()) as one, psycopg.connect(reading.url, autocommit=True) as other:
        until("the projection is there", lambda: reading.position() == {0: 400, 1: 400}, between=one.step)
        other.execute(END_SESSIONS)
        for shard in shards:
            journal_writer.publish(reading.brokers, reading.topic, shard, first_seq=401)
        with pytest.raises(Unavailable):
            until("it notices", lambda: reading.position() != {0: 400, 1: 400}, between=one.step, minutes=1)
    assert reading.position() == {0: 400, 1: 400}
    reading.run_to({0: ENTRIES, 1: ENTRIES})
    rows = contents(reading.url, reading.place)
    assert begun(reading.url) == reading.place  # nobody switched to it: the place is emptied
    reading.run_to({0: ENTRIES, 1: ENTRIES})
    again = contents(reading.url, reading.place)
    assert {table: again[table] for table in ("entries", "lines", "series", "blocks", "totals")} == {
        table: rows[table] for table in ("entries", "lines", "series", "blocks", "totals")
    }
