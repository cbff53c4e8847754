"""A ledger of many shards: topics, one process of each kind that owns them all, start and restart, an epoch, status.

    python -m tests.bench shards -- --shards 1000 --active 100

Some of the shards get a few events, so that they have entries, a range, a proof, an object and a manifest; then every
process is started once more, as after a deployment. Times include the start of the interpreter.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing

import psutil

from consumers.kafka.watermarks import Watermarks
from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.recovery.epochs import begin_epoch
from ledger_core.postgres.session import session
from producers.kafka.publisher import KafkaPublisher
from tests.bench import mix as bench_mix
from tests.bench.figures import show
from tests.bench.load import ROOT, Ledger, fresh_ledger
from tests.support.topics import TOPOLOGY

NAMES = ("notary", "poster", "prover", "archiver")
EVENTS_EACH = 3
SECONDS_MAX = 1_200.0


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench shards", description=__doc__)
    parser.add_argument("--shards", type=int, default=1_000)
    parser.add_argument("--active", type=int, default=100, help="so many of them get events, and ranges")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    figures: dict[str, object] = {}
    with fresh_ledger() as ledger:
        topology = ledger.logs / "topology.yaml"
        wide = re.sub(r"partitions: 2\b", f"partitions: {options.shards}", TOPOLOGY.read_text("utf-8"))
        topology.write_text(wide, "utf-8")
        ledger.environ |= {"FINANCE_TOPOLOGY": str(topology), "FINANCE_TOPIC_PREFIX": ledger.prefix + "wide."}
        figures["topics apply, s"] = command(ledger, "topics", "apply")
        wait_for_leaders(ledger, options.shards)
        publish(ledger, options.active)
        run(ledger, options.active, figures, "first start")
        figures["epoch of all shards, s"] = epoch(ledger)
        for words in (("status",), ("signers", "check"), ("verify", "ledger"), ("verify", "archive")):
            figures[f"{' '.join(words)}, s"] = command(ledger, *words)
        publish(ledger, options.active, EVENTS_EACH)
        run(ledger, options.active, figures, "restart", rounds=2)
    show(figures, as_json=options.json)
    return 0


def run(ledger: Ledger, shards: int, figures: dict[str, object], what: str, rounds: int = 1) -> None:
    """Start one of each, and time until every shard is posted, proved, archived, and everything is on the chain."""
    wanted = shards * EVENTS_EACH * rounds
    done: dict[str, Callable[[], bool]] = {
        "poster": lambda: ledger.ask("SELECT coalesce(sum(posted), 0) FROM shards") >= wanted,
        "prover": lambda: ledger.ask("SELECT count(*) FROM proofs") >= shards * rounds,
        "archiver": lambda: ledger.ask("SELECT count(*) FROM manifests") >= shards * rounds,
        "notary": lambda: ledger.ask(
            "SELECT (SELECT max(seq) FROM audit_events) = published_seq AND published_seq > 0 FROM notary_cursor"
        ),
    }
    began = time.monotonic()
    for number, name in enumerate(NAMES):
        ledger.start(name, number)
    processes = dict(zip(NAMES, [psutil.Process(it.pid) for it in ledger.processes], strict=True))
    peak = dict.fromkeys(NAMES, 0)
    left = dict(done)
    while left:
        for name, process in processes.items():
            peak[name] = max(peak[name], process.memory_info().rss)
        for name in [name for name, is_done in left.items() if is_done()]:
            figures[f"{what}: {name} done, s"] = round(time.monotonic() - began, 1)
            del left[name]
        if time.monotonic() - began > SECONDS_MAX:
            raise TimeoutError(f"{', '.join(left)} did not come to an end within {SECONDS_MAX:g} s")
        time.sleep(0.2)
    for name, size in peak.items():
        figures[f"{what}: {name} at most, MB"] = size // 1_000_000
    began = time.monotonic()
    ledger.stop()
    figures[f"{what}: stopped, s"] = round(time.monotonic() - began, 1)


def wait_for_leaders(ledger: Ledger, shards: int) -> None:
    """Until each partition of the settlements topic answers."""
    topic = f"{ledger.environ['FINANCE_TOPIC_PREFIX']}finance.settlements"
    began = time.monotonic()
    with closing(Watermarks(ledger.stack.env["KAFKA_BROKERS"])) as watermarks:
        for partition in range(shards):
            while True:
                try:
                    watermarks.bounds(topic, partition)
                    break
                except (Refused, Unavailable):
                    if time.monotonic() - began > SECONDS_MAX:
                        raise
                    time.sleep(0.5)


def publish(ledger: Ledger, shards: int, first: int = 0) -> None:
    """EVENTS_EACH for each shard."""
    publisher = KafkaPublisher(ledger.stack.env["KAFKA_BROKERS"])
    topic = f"{ledger.environ['FINANCE_TOPIC_PREFIX']}finance.settlements"
    messages = bench_mix.messages(shards * EVENTS_EACH, first=first * shards, mix=False)
    for number, (key, value) in enumerate(messages):
        publisher.publish(topic, number % shards, key=key, value=value)
        publisher.poll()
    publisher.flush(120)
    publisher.close()


def command(ledger: Ledger, *words: str) -> float:
    """Seconds that a command takes; it must succeed."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "finance", *words], env=ledger.environ, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        print(f"finance {' '.join(words)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return round(time.monotonic() - began, 1)


def epoch(ledger: Ledger) -> float:
    began = time.monotonic()
    with session(ledger.url, application_name="bench") as connection:
        begin_epoch(
            connection, kind="restore", epoch_id=str(uuid.uuid4()), actor_id="operator:bench", reason="bench",
            trace_id="ab" * 16,
        )  # fmt: skip
    return round(time.monotonic() - began, 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
