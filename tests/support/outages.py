"""One server of a stack away for a while under load, and what every process did meanwhile: for tests and for the bench.

Nothing here judges speed: `figures` are for tests.bench.bench_outages. An outage lasts until the block around it has
seen what it waits for, and no less than was asked.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consumers.service import Backoff
from finance.workshop.devstack import Stack
from tests.support import buckets, databases, topics
from tests.support.route import Ledger, Running
from tests.support.waits import until

RATE = 500.0
EVENTS_MIN = 5000  # more than ten ranges, however long the outage
LIMITS = {"range_entries_max": 400, "range_idle_seconds": 1, "retry_delay_ms_max": 2000}
STALL_SECONDS = 3


def ledger_on(stack: Stack, prefix: str, folder: Path) -> Ledger:
    """A fresh ledger on the stack, with short times; `prefix` goes before its topics."""
    env = stack.env
    url = databases.create_database(env["DATABASE_URL"], databases.ensure_template(env["DATABASE_URL"]))
    topics.create_topics(env["KAFKA_BROKERS"], prefix)
    roles = {
        name: databases.role_url(url, f"finance_{name.removeprefix('DATABASE_URL_').lower()}")
        for name in env
        if name.startswith("DATABASE_URL_")
    }
    own = {"DATABASE_URL": url, "FINANCE_TOPIC_PREFIX": prefix, "S3_AUDIT_BUCKET": buckets.create_bucket(env)}
    own |= {"HEALTH_STALL_SECONDS": str(STALL_SECONDS), "FINANCE_TOPOLOGY": str(topics.TOPOLOGY)}
    return Ledger({**os.environ, **env, **roles, **own}, folder, LIMITS)


@dataclass
class Outage:
    """`began` when the server was told to go, `gone` when it was; both in monotonic seconds, as the lines are."""

    ledger: Ledger
    processes: dict[str, Running]
    began: float
    gone: float
    unhealthy: set[str] = field(default_factory=set)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def wait_told(self, what: str, *names: str) -> None:
        """Each of these processes says in its log and in its metrics that `what` is away."""
        for name in names:
            process = self.processes[name]
            sample = f'finance_unavailable_total{{what="{what}"}}'
            until(
                f"{name} says that {what} is away",
                lambda process=process, sample=sample: bool(self._told(process, what)) and process.metric(sample) >= 1,  # type: ignore[misc]
                told=process.tail,
            )

    def wait_unhealthy(self, *names: str) -> None:
        def look() -> bool:
            self.unhealthy |= {name for name, process in self.processes.items() if not process.healthy()}
            return self.unhealthy >= set(names)

        until(f"{names} say that they are not well", look, told=lambda: str(sorted(self.unhealthy)))

    def wait_said(self, name: str, event: str, times: int = 1, since: float | None = None) -> None:
        """A process goes on: it says `event` so many times, from now on unless `since` says otherwise."""
        process, start = self.processes[name], time.monotonic() if since is None else since
        until(f"{name} says {event}", lambda: len(process.said(event, since=start)) >= times, told=process.tail)

    def _told(self, process: Running, what: str) -> list[dict[str, Any]]:
        lines = [line for moment, line in process.lines if moment >= self.began and line.get("what") == what]
        return [line for line in lines if line["level"] in ("warning", "error")]

    def check_waited(self) -> None:
        """Everybody lives, logs nothing but lines of JSON, and waited before each new try for as long as it said."""
        for name, process in self.processes.items():
            assert process.running, f"{name} ended:\n{process.tail()}"
            assert process.noise == [], f"{name}: not a log line: {process.noise[:5]}"
            tries = process.said("service.unavailable", since=self.began)
            for before, after in itertools.pairwise(tries):
                waited = (_moment(after) - _moment(before)).total_seconds()
                assert waited >= before["retry_seconds"], f"{name} tried without waiting: {before} {after}"
                shortest = Backoff(delay_ms_max=LIMITS["retry_delay_ms_max"]).seconds(before["failures"], lambda: 0.0)
                assert before["retry_seconds"] >= shortest, f"{name} waits ever less: {before}"

    def check_recovered(self) -> None:
        """All by itself: nothing waits, everybody is well, the oracle finds nothing."""
        self.ledger.wait_finished()
        for name, process in self.processes.items():
            until(f"{name} is well again", process.healthy)
        self.ledger.check()

    def measure(self) -> None:
        """What each process used and logged while the server was away, a second."""
        now = time.monotonic()
        seconds = now - self.gone
        for name, process in self.processes.items():
            loud = [line for m, line in process.lines if self.gone <= m < now and line["level"] != "info"]
            self.figures[f"{name}_core_share"] = (process.cpu_seconds() - self.cpu_seconds[name]) / seconds
            self.figures[f"{name}_lines_per_second"] = process.lines_between(self.gone, now) / seconds
            self.figures[f"{name}_loud_per_second"] = len(loud) / seconds


def _moment(line: dict[str, Any]) -> dt.datetime:
    return dt.datetime.fromisoformat(line["timestamp"])


@contextlib.contextmanager
def server_away(
    stack: Stack, ledger: Ledger, processes: dict[str, Running], service: str, *, crash: bool, seconds_min: float
) -> Iterator[Outage]:
    """The server goes when posting is under way, and is back after the block, which waits for what it wants to see."""
    posted = "SELECT coalesce(sum(next_offset), 0) FROM shards"
    before = ledger.ask(posted)[0]
    with ledger.load(max(EVENTS_MIN, int(RATE * seconds_min)), RATE):
        until("posting is under way", lambda: ledger.ask(posted)[0] > before)
        began = time.monotonic()
        (stack.kill if crash else stack.stop)(service)
        outage = Outage(ledger, processes, began, time.monotonic())
        outage.cpu_seconds = {name: process.cpu_seconds() for name, process in processes.items()}
        try:
            yield outage
            time.sleep(max(0.0, outage.gone + seconds_min - time.monotonic()))
            outage.measure()
        finally:
            stack.start(service)
    outage.check_waited()
