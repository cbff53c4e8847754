"""Real processes of the route in a test: started, watched by their log lines, metrics and health, frozen, killed.

`Ledger` is one ledger on a stack (settings, topology with short times, load, the oracle); `Running` one process of it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from finance.settings import variables
from finance.settings.deployment import Settings
from finance.wiring import oracle as verify_ledger
from finance.wiring.registry_file import read_registry
from finance.wiring.services import open_archive
from finance.wiring.status import StatusReader
from finance.workshop.sample_data import synthetic
from ledger_core.findings import Report
from ledger_core.verify.oracle import verify_archive
from producers.kafka.publisher import KafkaPublisher
from schemas.topology.load import load_topology
from schemas.wire.settlements import encode_settlement
from tests.support.kafka import tls
from tests.support.scrape import scrape
from tests.support.topics import TOPOLOGY, let_in
from tests.support.waits import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[2]
PROCESSES = variables.PROCESSES  # every one of topology.yaml


class Running:
    """`finance run NAME` as a child; every line it says is kept with the monotonic time at which it came."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self.name = name
        self.environ = dict(environ)
        self.lines: list[tuple[float, dict[str, Any]]] = []
        self.noise: list[tuple[float, str]] = []  # what is no JSON line: nothing should be
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "finance", "run", name],
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.pid = self._popen.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._popen.stderr is not None
        for raw in self._popen.stderr:
            moment = time.monotonic()
            try:
                self.lines.append((moment, json.loads(raw)))
            except ValueError:
                self.noise.append((moment, raw.decode(errors="replace").rstrip()))

    def said(self, event: str, since: float = 0.0, **fields: object) -> list[dict[str, Any]]:
        """The lines of one event from `since` on, whose fields have these values."""
        wanted = {"event": event, **fields}.items()
        return [line for moment, line in self.lines if moment >= since and wanted <= _hashable(line).items()]

    def wait_said(self, *events: str, since: float = 0.0, **fields: object) -> str:
        """Wait until one of the events is told; which one. Every new line is progress."""
        found: list[str] = []

        def look() -> bool:
            alive = self._popen.poll() is None or self._reader.is_alive()
            found.extend(event for event in events if self.said(event, since, **fields))
            assert found or alive, f"{self.name} ended:\n{self.tail()}"
            return bool(found)

        until(f"{self.name} says one of {events}", look, progress=lambda: len(self.lines), told=self.tail)
        return found[0]

    def tail(self, count: int = 15) -> str:
        told = sorted([(m, json.dumps(line)) for m, line in list(self.lines)] + list(self.noise))
        return "\n".join(text for _, text in told[-count:])

    def lines_between(self, start: float, end: float) -> int:
        return sum(start <= moment < end for moment, _ in [*self.lines, *self.noise])

    @property
    def url(self) -> str:
        self.wait_said("telemetry.listening")
        return str(self.said("telemetry.listening")[0]["url"])

    def healthy(self) -> bool:
        """Whether /healthz answers 200. Anything but 200 and 503 fails the test."""
        status, _ = scrape(f"{self.url}/healthz", self.environ)
        assert status in (200, 503)
        return status == 200

    def metric(self, sample: str) -> float:
        """One sample of /metrics by its whole name, labels included; 0 when it is not there."""
        _, page = scrape(f"{self.url}/metrics", self.environ)
        for line in page.splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0

    def cpu_seconds(self) -> float:
        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)

    def rss_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)

    def peak_bytes(self) -> int:
        """The most memory it ever had, by the kernel's own count (VmHWM): no sample can miss it."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def freeze(self) -> None:
        self._popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()
        self._reader.join()

    def stop(self) -> int:
        """SIGTERM and its exit code."""
        self._popen.terminate()
        return self.wait()

    def wait(self) -> int:
        """Its exit code, once it ended by itself."""
        try:
            code = self._popen.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {PATIENCE_SECONDS} s:\n{self.tail()}") from None
        self._reader.join()
        return code

    @property
    def running(self) -> bool:
        return self._popen.poll() is None


def _hashable(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if value is None or isinstance(value, str | int | float)}


@dataclass
class Ledger:
    """`environ` as the fixture of that name gives it; `folder` takes topology files. Ends every process it started."""

    environ: dict[str, str]
    folder: Path
    limits: dict[str, int] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)
    published: int = 0
    _made: int = 0

    def start(self, name: str, *, group: str | None = None, environ: Mapping[str, str] | None = None) -> Running:
        """Start a process; with a `group` of its own it owns every shard at once, whoever else thinks so too.
        `environ` adds to the ledger's."""
        self._made += 1
        path = self.folder / f"topology-{self._made}.yaml"
        text = TOPOLOGY.read_text()
        for limit, value in self.limits.items():
            text = with_limit(text, limit, value)
        if group is not None:
            text = text.replace(f"group: finance-{name}", f"group: {group}")
        path.write_text(text)
        if group is not None:
            let_in(self.environ["KAFKA_BROKERS"], self.environ["FINANCE_TOPIC_PREFIX"], path)
        running = Running(name, {**self.environ, **(environ or {}), "FINANCE_TOPOLOGY": str(path)})
        self.started.append(running)
        return running

    def start_all(self) -> dict[str, Running]:
        processes = {name: self.start(name) for name in PROCESSES}
        for process in processes.values():
            process.wait_said("service.started")
        return processes

    def publish(self, events: int, rate: float | None = None, partitions: int = 2) -> None:
        """Publish new events, evenly over the shards, from this thread."""
        # A shop sends again what timed out; here the client itself waits for the longest outage of a test.
        publisher = KafkaPublisher(
            self.environ["KAFKA_BROKERS"],
            {**tls(self.environ["KAFKA_BROKERS"]), "message.timeout.ms": int(PATIENCE_SECONDS) * 1000},
        )
        topic = self.environ["FINANCE_TOPIC_PREFIX"] + "finance.settlements"
        began = time.monotonic()
        for number, event in enumerate(synthetic(events, first=self.published)):
            key = event.settlement_id.encode()
            publisher.publish(topic, number % partitions, key=key, value=encode_settlement(event))
            if rate is not None and number % 25 == 0:
                publisher.poll()
                time.sleep(max(0.0, number / rate - (time.monotonic() - began)))
        publisher.flush(PATIENCE_SECONDS)
        publisher.close()
        self.published += events

    @contextlib.contextmanager
    def load(self, events: int, rate: float) -> Iterator[threading.Thread]:
        """Publish beside what the block does; leaving it waits until everything is acknowledged."""
        failed: list[BaseException] = []

        def work() -> None:
            try:
                self.publish(events, rate)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield thread
        finally:
            thread.join()
        assert not failed, failed

    @property
    def settings(self) -> Settings:
        return Settings.from_env(self.environ, ROOT)

    def wait_finished(self) -> None:
        """Until everything published is posted, proved, archived and on the audit chain."""
        topology = load_topology(TOPOLOGY, topic_prefix=self.environ["FINANCE_TOPIC_PREFIX"])
        reader = StatusReader(self.settings, topology)

        def tails() -> str:
            status = reader.read(dt.datetime.now(dt.UTC))
            return "\n".join([str(status), *(f"--- {p.name}\n{p.tail(6)}" for p in self.started if p.running)])

        try:
            until("all is finished", lambda: reader.read(dt.datetime.now(dt.UTC)).finished, told=tails)
        finally:
            reader.close()

    def check(self) -> None:
        """The oracle finds nothing in ledger, archive and audit chain, and every published event is accounted for."""
        settings, registry = self.settings, read_registry(self.settings.signers_path)
        topology = load_topology(TOPOLOGY, topic_prefix=self.environ["FINANCE_TOPIC_PREFIX"])
        told: list[Report] = [
            verify_ledger.check_ledger_of(settings, registry, lambda _count: None),
            verify_archive(open_archive(settings), settings.env, registry),
            verify_ledger.check_audit_of(settings, topology, registry, lambda _count: None),
        ]
        for report in told:
            assert report.sound, report.findings[:5]
        posted, offsets = self.ask("SELECT sum(posted), sum(next_offset) FROM shards")
        assert (posted, offsets) == (self.published, self.published)
        assert told[0].counts["entries"] == told[1].counts["entries"] == self.published

    def ask(self, query: str) -> Any:
        """The first row."""
        with psycopg.connect(self.environ["DATABASE_URL"], autocommit=True) as connection:
            return connection.execute(query).fetchone()

    def command(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """`finance ARGUMENTS`, to its end; `environ` adds to the ledger's."""
        command = [sys.executable, "-m", "finance", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env={**self.environ, **environ}, capture_output=True, text=True, timeout=300
        )

    def end(self) -> None:
        for process in self.started:
            if process.running:
                process.kill()


def with_limit(text: str, limit: str, value: int) -> str:
    """The text of a topology with one limit changed."""
    lines = text.splitlines(keepends=True)
    found = [number for number, line in enumerate(lines) if line.startswith(f"  {limit}:")]
    assert len(found) == 1, limit
    lines[found[0]] = f"  {limit}: {value}\n"
    return "".join(lines)
