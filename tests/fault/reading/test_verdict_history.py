"""What became of an event is answered for every event id, also once the outcomes topic has forgotten it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from finance.workshop.sample_data import synthetic
from producers.kafka.publisher import KafkaPublisher
from schemas.wire.settlements import encode_settlement
from tests.support.kafka import client, tls
from tests.support.read_side import assert_sound, await_posted
from tests.support.route import Ledger
from tests.support.waits import PATIENCE_SECONDS, until

pytestmark = pytest.mark.services

ENTRIES = 100
VERDICTS = "SELECT json_agg(v ORDER BY shard, source_offset)::text FROM {}.verdicts v"


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger(environ, tmp_path)
    yield found
    found.end()


def publish_what_posts_nothing(ledger: Ledger) -> None:
    """Records that came again, and some that cannot be read, under keys that are a settlement's and no one's."""
    brokers, topic = ledger.environ["KAFKA_BROKERS"], ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
    publisher = KafkaPublisher(brokers, tls(brokers))
    for again in synthetic(4, first=0):
        publisher.publish(topic, 0, key=again.settlement_id.encode(), value=encode_settlement(again))
    publisher.publish(topic, 1, key=b"st_nobody", value=b"nonsense")
    publisher.publish(topic, 1, key=b"\xff not a name", value=b"nonsense")
    publisher.flush(PATIENCE_SECONDS)
    publisher.close()


def forget_outcomes(ledger: Ledger, *, keep: int) -> None:
    """Let the outcomes topic be as after its retention: of each partition, the newest `keep` records are left."""
    admin = AdminClient(client(ledger.environ["KAFKA_BROKERS"]))
    topic = ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.outcomes"
    for shard in range(2):
        (decided,) = ledger.ask(f"SELECT next_offset FROM reading_1.outcomes WHERE shard = {shard}")
        at = TopicPartition(topic, shard, max(0, int(str(decided)) - keep))
        for future in admin.delete_records([at]).values():
            future.result(PATIENCE_SECONDS)


def rebuilt(ledger: Ledger, *options: str, asking_ledger: bool) -> dict[str, str | None]:
    """Build it anew, with or without an address of the ledger; the shards of which older verdicts are not known."""
    environ = dict(ledger.environ)
    if not asking_ledger:
        names = ("DATABASE_URL", "DATABASE_URL_API", "FINANCE_STACK")  # a stack lends its own
        ledger.environ = {name: it for name, it in environ.items() if name not in names}
    done = ledger.command("projection", "rebuild", "--json", *options)
    ledger.environ = environ
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, str | None] = json.loads(done.stdout)["verdicts_from"]
    return told


def asked(ledger: Ledger) -> object:
    (place,) = ledger.ask("SELECT place FROM reading.projections WHERE asked")
    return ledger.ask(VERDICTS.format(place))


def shown(ledger: Ledger) -> str:
    """What is said of a settlement of which only rejected records came."""
    return ledger.command("settlement", "show", "st_nobody").stdout


@pytest.mark.parametrize("keep", [0, 30])
def test_verdicts_that_the_topic_forgot_come_from_the_ledger_or_the_projection_before(
    ledger: Ledger, keep: int
) -> None:
    poster, projector = ledger.start("poster"), ledger.start("projector")
    ledger.publish(ENTRIES)
    await_posted(ledger, ENTRIES)
    publish_what_posts_nothing(ledger)
    until("verdicts are in the ledger", lambda: ledger.ask("SELECT count(*) FROM verdicts") == (6,))
    if keep:  # what the topic keeps is newer than all of them
        ledger.publish(ENTRIES)
        await_posted(ledger, 2 * ENTRIES)
    decided = "SELECT sum(decided) = (SELECT sum(next_offset) FROM shards) FROM reading_1.outcomes"
    until("outcomes are read", lambda: ledger.ask(decided) == (True,))
    before = asked(ledger)
    assert "already_posted" in str(before)
    assert "st_nobody" in str(before)
    for process in (poster, projector):
        process.stop()
    forget_outcomes(ledger, keep=keep)

    assert rebuilt(ledger, asking_ledger=False) == {}
    assert asked(ledger) == before
    assert_sound(ledger)
    assert "rejected" in shown(ledger)

    with psycopg.connect(ledger.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("DELETE FROM reading.projections")  # the database of the read side is lost
    missing = rebuilt(ledger, asking_ledger=False)
    assert set(missing) == {"0", "1"}
    assert all((offset is not None) == bool(keep) for offset in missing.values())
    assert asked(ledger) == (None,)
    assert_sound(ledger)
    assert f"before offset {missing['1']} that posted nothing are not known here" in shown(ledger) or not keep

    assert rebuilt(ledger, "--anew", asking_ledger=True) == {}
    assert asked(ledger) == before
    assert_sound(ledger)
    assert "not known here" not in shown(ledger)
    ledger.start("poster"), ledger.start("projector")
    ledger.publish(ENTRIES)
    (place,) = ledger.ask("SELECT place FROM reading.projections WHERE asked")
    complete = "SELECT bool_and(complete_from = 0) AND sum(decided) = (SELECT sum(next_offset) FROM shards) "
    until("outcomes go on", lambda: ledger.ask(f"{complete} FROM {place}.outcomes") == (True,))
    assert_sound(ledger)
