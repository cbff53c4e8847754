"""What `finance status` says of the route, and when it says that everything went the whole of it.

The first test is made from the list of processes: one that does work which nothing here looks at fails it.
"""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

import psycopg
import pytest

from finance.settings.deployment import Settings
from finance.settings.variables import PROCESSES
from finance.wiring.status import Status, StatusReader
from finance.workshop.devstack import Stack
from finance.workshop.sample_data import sample
from producers.settlement_publisher import SettlementPublisher
from schemas.topology.load import load_topology
from tests.simulator.faults import Faults
from tests.support.command_line import Finance
from tests.support.commit_points import ON_THE_WAY
from tests.support.kafka import tls
from tests.support.outages import ledger_on
from tests.support.personal import digest, keep_until, post, read_to, record, say, topic_of, waiting
from tests.support.route import ROOT
from tests.support.settlements import event_id
from tests.support.stepped_ledger import FINISHED, SteppedLedger, injected
from tests.support.topics import TOPOLOGY
from tests.support.transactions import ENDINGS, ending

LIMITS = {"range_idle_seconds": 1}
# What these do is no part of the record, is thrown away and made anew, and says itself how far it is.
NOT_WAITED_FOR = {"projector"}
WAITED_FOR = [name for name in PROCESSES if name not in NOT_WAITED_FOR]
BATCH = 6
TURNS = 12  # of each of the others, while one does nothing


@pytest.fixture(scope="module")
def ledger(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SteppedLedger]:
    folder, faults = tmp_path_factory.mktemp("status"), Faults()
    with injected(faults):
        made = SteppedLedger(ledger_on(stack, f"s{uuid.uuid4().hex[:8]}.", folder).environ, folder, faults)
        yield made
        made.close()


def publish(ledger: SteppedLedger) -> None:
    """Sales with personal data, new ones each time."""
    brokers, prefix = ledger.environ["KAFKA_BROKERS"], ledger.environ["FINANCE_TOPIC_PREFIX"]
    topics = prefix + "finance.settlements", prefix + "finance.personal"
    with SettlementPublisher(brokers, topics[0], personal_topic=topics[1], options=tls(brokers)) as publisher:
        for event in islice(sample("2017-03"), ledger.published, ledger.published + BATCH):
            publisher.publish(event)
    ledger.published += BATCH


def status_of(environ: dict[str, str]) -> Status:
    topology = load_topology(TOPOLOGY, topic_prefix=environ["FINANCE_TOPIC_PREFIX"])
    with closing(StatusReader(Settings.from_env(environ, ROOT), topology)) as reader:
        return reader.read(dt.datetime.now(dt.UTC))


@pytest.mark.parametrize("last", WAITED_FOR)
def test_nothing_is_finished_while_a_process_has_work_to_do(ledger: SteppedLedger, last: str) -> None:
    publish(ledger)
    others, turns = [name for name in WAITED_FOR if name != last], itertools.count()
    archived = {"events": ledger.published, "left": 1}

    def done() -> bool:
        """Whoever is not on the way to the archive keeps nobody there from doing all there is to do."""
        return next(turns) >= TURNS if last in ON_THE_WAY else bool(ledger.ask(FINISHED, archived))

    ledger.run(others, LIMITS, "the others did what they can", done)
    assert not status_of(ledger.environ).finished, f"the work of a {last} is not looked at"
    ledger.run(WAITED_FOR, LIMITS, "all is finished", lambda: status_of(ledger.environ).finished)
    ledger.check()


def test_data_whose_event_never_comes_are_told_and_keep_nothing_from_ending(environ: dict[str, str]) -> None:
    url, finance = environ["DATABASE_URL"], Finance(environ)
    say(environ, record(1), record(2), (b"st-1", b"no data"))
    told = finance.json("status")
    assert told["personal"]["partitions"][0] == {
        "partition": 0, "next_offset": 0, "high_watermark": 3, "lag_records": 3,
    }  # fmt: skip
    assert told["finished"] is told["personal"]["finished"] is False
    keep_until(environ, lambda: read_to(url) == 3)
    told = finance.json("status")
    assert told["finished"] is True
    assert told["personal"] == {
        "finished": True, "waiting": 2, "refused": 1, "to_compare": False, "to_forget": 0, "chain_read": True,
        "partitions": [
            {"partition": 0, "next_offset": 3, "high_watermark": 3, "lag_records": 0},
            {"partition": 1, "next_offset": 0, "high_watermark": 0, "lag_records": 0},
        ],
    }  # fmt: skip
    assert "personal  lag 0, 2 wait for their event, 1 refused" in finance("status")


def test_data_whose_event_was_posted_are_work_until_they_are_compared(environ: dict[str, str]) -> None:
    url = environ["DATABASE_URL"]
    say(environ, record(1))
    keep_until(environ, lambda: read_to(url) == 1)
    assert status_of(environ).personal.finished
    post(url, 1, digest(1, "Somebody else"))
    assert not status_of(environ).personal.finished
    assert "some to be compared" in Finance(environ)("status")
    keep_until(environ, lambda: waiting(url) == 0)
    assert status_of(environ).personal.finished


@pytest.mark.parametrize("said", ["here", "on the chain"])
def test_an_erasure_is_work_until_it_is_carried_out(environ: dict[str, str], said: str) -> None:
    url, finance = environ["DATABASE_URL"], Finance(environ)
    post(url, 1, digest(1))
    say(environ, record(1))
    keep_until(environ, lambda: status_of(environ).personal.finished and read_to(url) == 1)
    if said == "here":
        finance("pii", "approve", event_id(1), "--reason", "case 7", FINANCE_OPERATOR="bob")
        finance("pii", "erase", event_id(1), "--reason", "case 7", "--wait", "0", code=1)
        assert "1 to be forgotten" in finance("status")
    else:
        chain_erasure(url, 1)
        assert "erasures of the chain to be read" in finance("status")
    assert not status_of(environ).personal.finished
    keep_until(environ, lambda: status_of(environ).personal.finished)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM personal_data").fetchone() == (0,)


def chain_erasure(url: str, n: int) -> None:
    """The row of the audit chain alone, as after a restore; nobody asks it for a signature here."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO audit_events VALUES ('e', 1, 'operator:ada', 'personal.erased', "
            "jsonb_build_object('event_id', %s::text, 'reason', 'r'), NULL, repeat('a', 64), '', 'k', now())",
            (event_id(n),),
        )


@pytest.mark.parametrize("how", ENDINGS)
def test_a_topic_that_ends_without_a_record_is_read_to_its_end(environ: dict[str, str], how: str) -> None:
    """A shop may send personal data in transactions, too."""
    key, value = record(1)
    assert value is not None
    with ending(environ["KAFKA_BROKERS"], topic_of(environ), how, [(key, value)]):
        keep_until(environ, lambda: status_of(environ).personal.finished)
    assert waiting(environ["DATABASE_URL"]) == 1
