"""Each server that the route rests on goes away for a while under load, and comes back on its port with its data.

While it is away the processes that need it say so, in their log, their metrics and their health, and wait before they
try again; afterwards everything catches up by itself and the oracle finds nothing. What they use and log meanwhile is
measured by tests.bench.bench_outages. A stack of its own: no other test suffers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from consumers.kafka.group_source import CLOSE_SECONDS_MAX, KafkaSource
from finance.workshop.devstack import Stack
from ledger_core.errors import Unavailable
from schemas.topology.load import load_topology
from tests.conftest import another_stack
from tests.support import audit
from tests.support.kafka import tls
from tests.support.outages import ledger_on, server_away
from tests.support.personal_model import Shops, found, wanted
from tests.support.route import PROCESSES, Ledger, Running
from tests.support.topics import TOPOLOGY
from tests.support.waits import until

pytestmark = pytest.mark.services

SHARDS = 2
READERS = tuple(name for name, it in load_topology(TOPOLOGY).processes.items() if it.consumes)
PROOFS = "SELECT count(*) FROM proofs"


@pytest.fixture(scope="module")
def own_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    yield from another_stack(request, "outage")


@pytest.fixture(scope="module")
def ledger(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One ledger through all the outages: what one leaves behind, the next one finds."""
    made = ledger_on(own_stack, "outage.", tmp_path_factory.mktemp("outage"))
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def seconds_min(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--outage-seconds"))


@pytest.fixture(scope="module")
def processes(ledger: Ledger) -> dict[str, Running]:
    return ledger.start_all()


def test_reader_whose_commit_is_on_its_way_leaves_a_dead_broker(own_stack: Stack, ledger: Ledger) -> None:
    """librdkafka's own close waits for such a commit until the broker is back; the partitions are free again then."""
    brokers, topic, group = own_stack.env["KAFKA_BROKERS"], "outage.finance.outcomes", "leaver"
    leaving = KafkaSource(brokers, topic, group, lambda _partition: 0, lambda _partition: None, tls(brokers))
    poll_until(leaving, lambda: len(leaving.owned) == SHARDS)
    own_stack.kill("kafka")
    with pytest.raises(Unavailable):
        poll_until(leaving, lambda: False)
    leaving.note_done(0, 0)
    closed = threading.Event()

    def leave() -> None:
        leaving.close()
        closed.set()

    threading.Thread(target=leave, daemon=True).start()
    left = closed.wait(CLOSE_SECONDS_MAX + 60)
    own_stack.start("kafka")
    assert left, "the process could not have been stopped, and would have been taken for one that hangs"
    successor = KafkaSource(brokers, topic, group, lambda _partition: 0, lambda _partition: None, tls(brokers))
    poll_until(successor, lambda: len(successor.owned) == SHARDS)
    successor.close()


def poll_until(source: KafkaSource, done: Callable[[], bool]) -> None:
    until("the source gets there", done, between=lambda: source.poll(10, 0.1), told=lambda: str(sorted(source.owned)))


def test_signer_away_stops_proofs_and_nothing_else(
    own_stack: Stack, ledger: Ledger, processes: dict[str, Running], seconds_min: float
) -> None:
    """Posting and the closing of ranges go on; what has no proof yet is nowhere to be read; then all is signed."""
    with server_away(own_stack, ledger, processes, "kms", crash=True, seconds_min=seconds_min) as outage:
        outage.wait_told("signer", "notary")  # the prover signs what the notary announced: it is not asked for anything
        assert processes["notary"].metric('finance_signer_failures_total{reason="unavailable"}') >= 1
        outage.wait_said("prover", "range.closed")  # what was signed before the server went is published by now
        proofs = ledger.ask(PROOFS)
        outage.wait_said("poster", "poster.batch", times=3)
        outage.wait_said("prover", "range.closed", times=5)
        outage.wait_unhealthy("notary")
        assert ledger.ask(PROOFS) == proofs
    outage.check_recovered()
    assert ledger.ask("SELECT count(*) FROM proofs WHERE convert_from(proof, 'UTF8')::jsonb->>'signature' = ''")[0] == 0


def test_archive_store_away_stops_the_archive_and_nothing_else(
    own_stack: Stack, ledger: Ledger, processes: dict[str, Running], seconds_min: float
) -> None:
    with server_away(own_stack, ledger, processes, "s3", crash=True, seconds_min=seconds_min) as outage:
        outage.wait_told("s3", "archiver")
        for name, step in (("poster", "poster.batch"), ("prover", "proof.published"), ("notary", "notary.published")):
            outage.wait_said(name, step)
        outage.wait_unhealthy("archiver")
    outage.check_recovered()


def test_broker_away_stops_everybody_but_the_audit_chain(
    own_stack: Stack, ledger: Ledger, processes: dict[str, Running], seconds_min: float
) -> None:
    with server_away(own_stack, ledger, processes, "kafka", crash=False, seconds_min=seconds_min) as outage:
        audit.append(ledger.environ["DATABASE_URL"], [audit.intent(number) for number in range(3)])
        outage.wait_said("notary", "notary.chained", since=outage.gone)
        outage.wait_told("kafka", *PROCESSES)
        outage.wait_unhealthy(*READERS)
    outage.check_recovered()


def test_database_crash_stops_everybody_and_loses_nothing(
    own_stack: Stack, ledger: Ledger, processes: dict[str, Running], seconds_min: float
) -> None:
    with closing(Shops(ledger.environ)) as shops:
        shops.round()
        with server_away(own_stack, ledger, processes, "postgres", crash=True, seconds_min=seconds_min) as outage:
            for n in (shops.next() for _ in range(20)):
                shops.guess(n)
                shops.post(n)
                shops.data(n)
            shops.flush()
            outage.wait_told("postgres", *PROCESSES)
            outage.wait_unhealthy(*PROCESSES)
        shops.round()
        ledger.published += shops.posted
    outage.check_recovered()
    assert found(ledger.environ) == wanted(ledger.environ), "personal data are not what their topic says"


def test_after_all_outages_the_commands_say_sound_and_nothing_leaked(
    ledger: Ledger, processes: dict[str, Running]
) -> None:
    for what in ("ledger", "archive", "audit"):
        told = ledger.command("verify", what)
        assert told.returncode == 0, told.stdout + told.stderr
    sessions = ledger.ask("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")[0]
    assert sessions <= len(PROCESSES) + 1, "a service built anew left its old session open"
    for name, process in processes.items():
        assert process.stop() == 0, f"{name}:\n{process.tail()}"
