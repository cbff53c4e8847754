"""The route at work: every process as a real child, events published to them, progress until all of it is done.

Guarantees: leaving the `with` block ends every child, however it is left, and so does the death of this process; a
child that gives up, or a route that stands still, raises with the end of the log instead of waiting for ever.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from finance.settings import clock
from finance.wiring.status import Status, StatusReader
from finance.workshop.demo.ledger import DemoLedger
from finance.workshop.demo.model import Stage
from ledger_core.books.settlements import SettlementEvent
from ledger_core.errors import Unavailable
from producers.settlement_publisher import SettlementPublisher

LOOK_SECONDS: Final = 0.2
STANDSTILL_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = 45.0
STAGES: Final[Mapping[str, str]] = {
    "published": "events",
    "posted": "entries",
    "proved": "entries",
    "archived": "entries",
    "notarised": "audit events",
}

OnLook = Callable[[Mapping[str, int], int], None]
"""Called with the count of each stage, and how many audit events are known of so far."""


class DemoRoute:
    """`finance run all` on a demo ledger. `log_file` gets what the processes log."""

    def __init__(self, ledger: DemoLedger, log_file: Path) -> None:
        self._ledger = ledger
        self._log_file = log_file
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._log = self._log_file.open("wb")
        command = [sys.executable, "-m", "finance", "run", "all", "--stop-on-eof"]
        self._process = subprocess.Popen(
            command,
            env=self._ledger.environ,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # an interrupt at the terminal reaches us, and we end it
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()  # its children see the end of their stdin, and stop
                self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
        if self._log is not None:
            self._log.close()

    def wait_until_open(self) -> None:
        """Until a poster has opened every shard: so that what a stage takes is not the start of its process.

        Raises Unavailable when that does not come.
        """
        reader = StatusReader(self._ledger.settings, self._ledger.topology)
        deadline = time.monotonic() + STANDSTILL_SECONDS_MAX
        try:
            while True:
                status = reader.read(clock.utc_now())
                self._check_alive(status)
                if all(shard.progress is not None for shard in status.shards):
                    return
                if time.monotonic() > deadline:
                    raise Unavailable("route", f"no poster opened its shards. {self._log_end()}")
                time.sleep(LOOK_SECONDS)
        finally:
            reader.close()

    def send(self, events: Iterable[SettlementEvent], on_look: OnLook = lambda _counts, _known: None) -> list[Stage]:
        """Publish the events and wait until everything has gone the whole route. What each stage took.

        Raises Unavailable when the route stands still or ends, and whatever publishing raises.
        """
        publishing = _Publishing(self._ledger, events)
        reader = StatusReader(self._ledger.settings, self._ledger.topology)
        watch = _Watch()
        publishing.start()
        try:
            while True:
                published, publisher_done = publishing.published, not publishing.is_alive()
                status = reader.read(clock.utc_now())
                self._check_alive(status)
                known = status.audit.seq + status.audit.waiting_intents
                on_look(watch.look(_counts(published, status)), known)
                if publishing.error is not None:
                    raise publishing.error
                if publisher_done and status.finished:
                    return watch.stages()
                if watch.standstill_seconds > STANDSTILL_SECONDS_MAX:
                    raise Unavailable("route", f"nothing moved for {STANDSTILL_SECONDS_MAX:.0f} s. {self._log_end()}")
                time.sleep(LOOK_SECONDS)
        finally:
            publishing.stop()
            reader.close()

    def _check_alive(self, status: Status) -> None:
        if self._process is None or self._process.poll() is not None:
            code = None if self._process is None else self._process.returncode
            raise Unavailable("route", f"`finance run all` ended with exit code {code}. {self._log_end()}")
        if status.control.halted:
            raise Unavailable("route", f"posting is halted: {status.control.reason}. {self._log_end()}")

    def _log_end(self) -> str:
        lines = self._log_file.read_text(errors="replace").splitlines()[-15:]
        return f"The end of {self._log_file}:\n" + "\n".join(lines)


class _Publishing(threading.Thread):
    """Publishes beside the watching. `published` grows; `error` is set when it failed."""

    def __init__(self, ledger: DemoLedger, events: Iterable[SettlementEvent]) -> None:
        super().__init__(name="publishing", daemon=True)
        self._brokers = ledger.settings.kafka_brokers
        self._options = ledger.settings.kafka_options("marketplace")
        topics = ledger.topology.topics
        self._topic, self._personal_topic = topics["settlements"].name, topics["personal"].name
        self._events = events
        self._stopped = threading.Event()
        self.published = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            with SettlementPublisher(
                self._brokers, self._topic, personal_topic=self._personal_topic, options=self._options
            ) as publisher:
                for event in self._events:
                    if self._stopped.is_set():
                        return
                    publisher.publish(event)
                    self.published = publisher.published
        except Exception as error:  # raised again where it is read
            self.error = error

    def stop(self) -> None:
        self._stopped.set()
        self.join()


class _Watch:
    """When each count first and last grew."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._base: dict[str, int] | None = None
        self._counts: dict[str, int] = {}
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}
        self._before = self._began

    def look(self, counts: dict[str, int]) -> dict[str, int]:
        """Note the counts of one check; what they grew by since the first."""
        now = time.monotonic()
        if self._base is None:
            self._base = {**counts, "published": 0}
        grown = {name: count - self._base[name] for name, count in counts.items()}
        for name, count in grown.items():
            if count > self._counts.get(name, 0):
                self._first.setdefault(name, self._before)  # it began at some moment since the check before
                self._last[name] = now
        self._counts, self._before = grown, now
        return grown

    @property
    def standstill_seconds(self) -> float:
        return time.monotonic() - max(self._last.values(), default=self._began)

    def stages(self) -> list[Stage]:
        return [
            Stage(
                name,
                unit,
                self._counts[name],
                self._last.get(name, self._began) - self._began,
                self._last.get(name, 0.0) - self._first.get(name, 0.0),
            )
            for name, unit in STAGES.items()
        ]


def _counts(published: int, status: Status) -> dict[str, int]:
    progress = [shard.progress for shard in status.shards if shard.progress is not None]
    return {
        "published": published,
        "posted": sum(shard.seq for shard in progress),
        "proved": sum(shard.proved_seq for shard in progress),
        "archived": sum(shard.archived_seq for shard in progress),
        "notarised": status.audit.seq,
    }
