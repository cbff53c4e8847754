"""What the benches share: their own stack, a fresh ledger in it, synthetic load, and processes as in production."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from finance.workshop.devstack import Stack
from producers.kafka.publisher import KafkaPublisher
from tests.bench import mix as bench_mix
from tests.support import buckets, databases, topics

ROOT = Path(__file__).parents[2]
ENCODED_AHEAD_MAX = 500_000  # messages of some 250 bytes


@dataclass
class Ledger:
    """A fresh database, fresh topics and a fresh bucket on the bench stack, and the processes started on them."""

    stack: Stack
    url: str
    prefix: str
    environ: dict[str, str]
    logs: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, number: int = 0) -> Path:
        """Start `finance run NAME` as in production; returns the file of its JSON log."""
        path = self.logs / f"{name}-{number}.jsonl"
        with path.open("wb") as out:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "finance", "run", name], env=self.environ, stdout=out, stderr=out, cwd=ROOT
                )
            )
        return path

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)
        self.processes.clear()

    def pids(self) -> dict[str, list[int]]:
        """The process trees that posting makes work: posters (whatever was started here), Postgres, broker."""
        servers = {status.service: status.pid for status in self.stack.status() if status.pid is not None}
        started = [process.pid for process in self.processes]
        return {"posters": started, "postgres": [servers["postgres"]], "broker": [servers["kafka"]]}

    def ask(self, query: str, *args: object) -> Any:
        """The first column of the first row."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(query, args).fetchone()
        return row[0] if row else None

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def publish(self, events: int, *, first: int = 0, rate: float | None = None, mix: bool = False) -> float:
        """Publish synthetic settlements, evenly over the shards; returns the seconds it took. `mix`: see
        tests/bench/mix.py."""
        publisher = KafkaPublisher(self.stack.env["KAFKA_BROKERS"])
        topic = f"{self.prefix}finance.settlements"
        messages: Iterable[tuple[bytes, bytes]] = bench_mix.messages(events, first=first, mix=mix)
        if rate is not None and events <= ENCODED_AHEAD_MAX:
            messages = list(messages)  # else the publisher's own work would take a core from what is measured
        began = time.monotonic()
        for number, (key, value) in enumerate(messages):
            publisher.publish(topic, number % 2, key=key, value=value)
            if number % 64 == 0:
                publisher.poll()
                if rate is not None:
                    ahead = number / rate - (time.monotonic() - began)
                    if ahead > 0:
                        time.sleep(ahead)
        publisher.flush(60)
        publisher.close()
        return time.monotonic() - began

    def wait_owned(self, shards: int, processes: int) -> None:
        """Until each poster process owns its share of the shards."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            owned = sum(
                len(opened_shards(path)) > 0 and len(opened_shards(path)) == shards // processes
                for path in self.logs.glob("poster-*.jsonl")
            )
            if owned == processes:
                return
            time.sleep(0.2)
        raise TimeoutError("the posters did not share the shards within 90 s")


def opened_shards(log: Path) -> set[int]:
    """The shards a poster owns, by its log."""
    owned: set[int] = set()
    for line in records(log):
        if line.get("event") == "poster.shard_opened":
            owned.add(line["shard"])
        elif line.get("event") == "poster.shard_closed":
            owned.discard(line["shard"])
    return owned


def records(log: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a log; anything else in it is shown, for it should not be there."""
    for line in log.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            print(f"{log.name}: {line}", file=sys.stderr)


@contextmanager
def fresh_ledger(**overrides: str) -> Iterator[Ledger]:
    """A ledger with nothing in it, on the stack named `bench`, which stays up between benches of one run."""
    stack = Stack.up("bench", ROOT / ".finance", say=lambda text: print(f"[stack] {text}", file=sys.stderr))
    template = databases.ensure_template(stack.env["DATABASE_URL"])
    url = databases.create_database(stack.env["DATABASE_URL"], template)
    prefix = f"b{uuid.uuid4().hex[:6]}."
    created = topics.create_topics(stack.env["KAFKA_BROKERS"], prefix)
    logs = stack.place.logs / prefix.rstrip(".")
    logs.mkdir(parents=True)
    environ = {**os.environ, **stack.env}
    for name in stack.env:
        if name.startswith("DATABASE_URL_"):
            role = name.removeprefix("DATABASE_URL_").lower()
            environ[name] = databases.role_url(url, f"finance_{role}")
    environ |= {
        "DATABASE_URL": url,
        "FINANCE_TOPIC_PREFIX": prefix,
        "FINANCE_TOPOLOGY": str(topics.TOPOLOGY),
        "S3_AUDIT_BUCKET": buckets.create_bucket(stack.env),
        **overrides,
    }
    ledger = Ledger(stack, url, prefix, environ, logs)
    try:
        yield ledger
    finally:
        ledger.stop()
        databases.drop_database(stack.env["DATABASE_URL"], url)
        topics.delete_topics(stack.env["KAFKA_BROKERS"], created)
        if os.environ.get("BENCH_KEEP_STACK") != "1":
            stack.remove(keep_logs=True)
