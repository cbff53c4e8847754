"""The read side on the whole route: each event is answered for, with its proof and its object."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from finance.settings import clock
from finance.workshop.sample_data import synthetic
from ledger_core.errors import Refused
from ledger_core.postgres.reading.projection_balances import newest_position, position_at, trial_sides
from ledger_core.postgres.reading.projection_entries import By, entries_by
from ledger_core.postgres.reading.projection_links import link_of
from ledger_core.postgres.reading.projection_places import PLACES
from ledger_core.postgres.reading.projection_verdicts import verdicts_of_event
from ledger_core.times import EPOCH, MICROSECOND
from producers.kafka.publisher import KafkaPublisher
from schemas.wire.settlements import encode_settlement
from tests.support.kafka import tls
from tests.support.projections import asking
from tests.support.route import Ledger
from tests.support.waits import PATIENCE_SECONDS, until

pytestmark = pytest.mark.services


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(environ, tmp_path, {"range_idle_seconds": 1, "audit_export_idle_seconds": 1})
    yield found
    found.end()


def posted(ledger: Ledger) -> dict[int, int]:
    with psycopg.connect(ledger.environ["DATABASE_URL"], autocommit=True) as connection:
        return dict(connection.execute("SELECT shard, seq FROM shards").fetchall())


def reached(ledger: Ledger) -> dict[int, int]:
    try:
        with asking(ledger.environ["DATABASE_URL_READING"], PLACES[0]) as connection:
            return newest_position(connection)
    except psycopg.errors.UndefinedTable:
        return {}


def test_each_event_is_answered_for_with_its_proof_and_its_object(ledger: Ledger) -> None:
    ledger.start_all()
    ledger.publish(300)
    (again,) = synthetic(1, first=0)
    publisher = KafkaPublisher(ledger.environ["KAFKA_BROKERS"], tls(ledger.environ["KAFKA_BROKERS"]))
    topic = ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    publisher.publish(topic, 0, key=again.settlement_id.encode(), value=encode_settlement(again))
    publisher.publish(topic, 1, key=b"st_nobody", value=b"nonsense")
    publisher.flush(PATIENCE_SECONDS)
    publisher.close()
    ledger.wait_finished()
    until("the read side has all entries", lambda: reached(ledger) == posted(ledger) != {})
    with asking(ledger.environ["DATABASE_URL_READING"], PLACES[0]) as connection:
        position = newest_position(connection)
        (entry,) = entries_by(connection, By.EVENT, again.event_id, position, limit=9)
        sides = trial_sides(connection, position)
    assert sum(it.debits for it in sides) == sum(it.credits for it in sides) > 0
    stored = ledger.ask(
        f"""SELECT r.range_no, p.proof_id, a.object_key FROM ranges r JOIN proofs p USING (shard, range_no)
              JOIN archive_objects a USING (shard, range_no)
             WHERE r.shard = {entry.shard} AND r.first_seq <= {entry.seq} AND r.last_seq >= {entry.seq}"""
    )

    def linked() -> bool:
        with asking(ledger.environ["DATABASE_URL_READING"], PLACES[0]) as connection:
            found = link_of(connection, entry.shard, entry.seq)
            verdicts = verdicts_of_event(connection, again.event_id, limit=9)
        said = None if found is None else (found.range_no, found.proof_id, found.object_key)
        return said == stored and [(it.verdict, it.shard) for it in verdicts] == [("duplicate", 0)]

    until("links and verdicts are there", linked)

    moment = (clock.utc_now() - EPOCH + dt.timedelta(seconds=1)) // MICROSECOND

    def known() -> bool:
        with asking(ledger.environ["DATABASE_URL_READING"], PLACES[0]) as connection:
            try:
                return position_at(connection, moment) == position
            except Refused:
                return False

    until("shards without events are closed, so that a time behind the last one is answered", known)
