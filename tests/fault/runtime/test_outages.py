"""Each server that the route rests on goes away for a while under load, and comes back on its port with its data.

While it is away the processes that need it say so, in their log, their metrics and their health, and wait without
spinning; afterwards everything catches up by itself and the oracle finds nothing. A stack of its own: no other test
suffers.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from consumers.kafka.group_source import CLOSE_SECONDS_MAX, KafkaSource
from finance.workshop.devstack import Stack
from ledger_core.errors import Unavailable
from tests.conftest import another_stack
from tests.support import audit, buckets, databases, topics
from tests.support.kafka import tls
from tests.support.route import PROCESSES, Ledger, Running
from tests.support.waits import until

pytestmark = pytest.mark.services

RATE = 500.0
BEFORE_SECONDS, AFTER_SECONDS = 2.0, 2.0
STALL_SECONDS = 3
CPU_SHARE_MAX = 0.4  # of one core; a busy loop takes all of it, and posting 500 events/s takes some
LINES_PER_SECOND_MAX = 60.0  # the poster says a line for each batch: at most twenty a second and shard
LOUD_PER_SECOND_MAX = 2.0
SHARDS = 2
LIMITS = {"range_entries_max": 400, "range_idle_seconds": 1, "retry_delay_ms_max": 2000}


@pytest.fixture(scope="module")
def own_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    yield from another_stack(request, "outage")


@pytest.fixture(scope="module")
def ledger(own_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """One ledger through all the outages: what one leaves behind, the next one finds."""
    env = own_stack.env
    url = databases.create_database(env["DATABASE_URL"], databases.ensure_template(env["DATABASE_URL"]))
    topics.create_topics(env["KAFKA_BROKERS"], "outage.")
    roles = {
        name: databases.role_url(url, f"finance_{name.removeprefix('DATABASE_URL_').lower()}")
        for name in env
        if name.startswith("DATABASE_URL_")
    }
    own = {"DATABASE_URL": url, "FINANCE_TOPIC_PREFIX": "outage.", "S3_AUDIT_BUCKET": buckets.create_bucket(env)}
    own |= {"HEALTH_STALL_SECONDS": str(STALL_SECONDS), "FINANCE_TOPOLOGY": str(topics.TOPOLOGY)}
    made = Ledger({**os.environ, **env, **roles, **own}, tmp_path_factory.mktemp("outage"), LIMITS)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def away_seconds(request: pytest.FixtureRequest) -> float:
    return float(request.config.getoption("--outage-seconds"))


@pytest.fixture(scope="module")
def processes(ledger: Ledger) -> dict[str, Running]:
    return ledger.start_all()


class Outage:
    """One server away for `away_seconds` under load, and what every process did in the meantime."""

    def __init__(
        self,
        stack: Stack,
        ledger: Ledger,
        processes: dict[str, Running],
        service: str,
        *,
        crash: bool,
        intents: int = 0,
        away_seconds: float,
    ) -> None:
        self.ledger, self.processes, self.away_seconds = ledger, processes, away_seconds
        self.unhealthy: set[str] = set()
        self.counted: dict[str, float] = {}
        events = int(RATE * (BEFORE_SECONDS + away_seconds + AFTER_SECONDS))
        with ledger.load(events, RATE):
            time.sleep(BEFORE_SECONDS)
            self.began = time.monotonic()
            (stack.kill if crash else stack.stop)(service)
            self.gone = time.monotonic()
            cpu = {name: process.cpu_seconds() for name, process in processes.items()}
            if intents:
                audit.append(ledger.environ["DATABASE_URL"], [audit.intent(number) for number in range(intents)])
            self._watch()
            self.ended = time.monotonic()
            self.cpu_share = {
                name: (process.cpu_seconds() - cpu[name]) / (self.ended - self.gone)
                for name, process in processes.items()
            }
            self.read_counts()
            stack.start(service)
            self.back = time.monotonic()

    def _watch(self) -> None:
        while time.monotonic() < self.gone + self.away_seconds:
            self.unhealthy |= {name for name, process in self.processes.items() if not process.healthy()}
            time.sleep(0.5)

    def read_counts(self) -> None:
        for name, process in self.processes.items():
            for what in ("kafka", "postgres", "s3", "signer"):
                self.counted[f"{name}:{what}"] = process.metric(f'finance_unavailable_total{{what="{what}"}}')

    def told(self, name: str, what: str) -> int:
        """How many clear lines a process said about `what` while it was away."""
        lines = [line for moment, line in self.processes[name].lines if self.began <= moment < self.ended]
        return sum(line.get("what") == what and line["level"] in ("warning", "error") for line in lines)

    def check_told(self, what: str, *names: str) -> None:
        """Each of these processes said what is away, counted it, and nobody spun or flooded the log."""
        for name in names:
            assert self.told(name, what) >= 1, f"{name} said nothing of {what}:\n{self.processes[name].tail()}"
            assert self.counted[f"{name}:{what}"] >= 1, name
        seconds = self.ended - self.began
        for name, process in self.processes.items():
            assert process.running, f"{name} ended:\n{process.tail()}"
            assert process.noise == [], f"{name}: not a log line: {process.noise[:5]}"
            rate = process.lines_between(self.began, self.ended) / seconds
            assert rate < LINES_PER_SECOND_MAX, f"{name} said {rate:.0f} lines a second"
            assert self.cpu_share[name] < CPU_SHARE_MAX, f"{name} used {self.cpu_share[name]:.2f} of a core"
            loud = [line for m, line in process.lines if self.began <= m < self.ended and line["level"] != "info"]
            assert len(loud) <= LOUD_PER_SECOND_MAX * seconds, f"{name} tried without waiting: {loud[:20]}"

    def check_recovered(self) -> None:
        """All by itself: nothing waits, everybody is well, the oracle finds nothing."""
        self.ledger.wait_finished()
        for name, process in self.processes.items():
            until(f"{name} is well again", process.healthy)
        self.ledger.check()


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
    own_stack: Stack, ledger: Ledger, processes: dict[str, Running], away_seconds: float
) -> None:
    """Posting and the closing of ranges go on; what has no proof yet is nowhere to be read; then all is signed."""
    outage = Outage(own_stack, ledger, processes, "kms", crash=True, away_seconds=away_seconds)
    outage.check_told("signer", "prover", "notary")
    assert processes["prover"].metric('finance_signer_failures_total{reason="unavailable"}') >= 1
    assert "notary" in outage.unhealthy
    assert not {"poster", "prover"} & outage.unhealthy, "a signer's outage stops neither posting nor closing"
    away = (outage.gone, outage.ended)
    posted = [m for m, line in processes["poster"].lines if line.get("event") == "poster.batch"]
    closed = [m for m, line in processes["prover"].lines if line.get("event") == "range.closed"]
    proved = [m for m, line in processes["prover"].lines if line.get("event") == "proof.published"]
    assert sum(away[0] < moment < away[1] for moment in posted) >= 10
    assert sum(away[0] < moment < away[1] for moment in closed) >= 5
    assert not any(away[0] < moment < away[1] for moment in proved)
    outage.check_recovered()
    assert ledger.ask("SELECT count(*) FROM proofs WHERE convert_from(proof, 'UTF8')::jsonb->>'signature' = ''")[0] == 0


def test_archive_store_away_stops_the_archive_and_nothing_else(
    own_stack: Stack, ledger: Ledger, processes: dict[str, Running], away_seconds: float
) -> None:
    outage = Outage(own_stack, ledger, processes, "s3", crash=True, away_seconds=away_seconds)
    outage.check_told("s3", "archiver")
    assert outage.unhealthy == {"archiver"}
    outage.check_recovered()


def test_broker_away_stops_everybody_but_the_audit_chain(
    own_stack: Stack, ledger: Ledger, processes: dict[str, Running], away_seconds: float
) -> None:
    outage = Outage(own_stack, ledger, processes, "kafka", crash=False, intents=3, away_seconds=away_seconds)
    outage.check_told("kafka", *PROCESSES)
    chained = [m for m, line in processes["notary"].lines if line.get("event") == "notary.chained"]
    assert any(outage.gone < moment < outage.ended for moment in chained), "the chain grows without the topic"
    assert outage.unhealthy >= {"poster", "prover", "archiver"}
    outage.check_recovered()


def test_database_crash_stops_everybody_and_loses_nothing(
    own_stack: Stack, ledger: Ledger, processes: dict[str, Running], away_seconds: float
) -> None:
    outage = Outage(own_stack, ledger, processes, "postgres", crash=True, away_seconds=away_seconds)
    outage.check_told("postgres", *PROCESSES)
    assert outage.unhealthy == set(PROCESSES)
    outage.check_recovered()


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
