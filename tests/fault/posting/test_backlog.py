"""A backlog, however long, is worked off in bounded memory: every process starts behind 300,000 events."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from finance.wiring.registry_file import read_registry
from finance.wiring.services import open_archive
from ledger_core.verify.oracle import verify_archive
from tests.support.route import PROCESSES, Ledger, Running

pytestmark = pytest.mark.services

EVENTS = 300_000
RSS_BYTES_MAX = 400_000_000
SAMPLE_SECONDS = 0.25


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(environ, tmp_path, {"range_idle_seconds": 1})
    try:
        yield made
    finally:
        made.end()


class Watch(threading.Thread):
    """The highest resident memory of each process, sampled until `done` is set."""

    def __init__(self, processes: dict[str, Running]) -> None:
        super().__init__(daemon=True)
        self.processes, self.done = processes, threading.Event()
        self.peaks = dict.fromkeys(processes, 0)

    def run(self) -> None:
        while not self.done.wait(SAMPLE_SECONDS):
            for name, process in self.processes.items():
                self.peaks[name] = max(self.peaks[name], process.rss_bytes())


def test_every_process_catches_up_within_its_memory(ledger: Ledger) -> None:
    """The poster meets the whole backlog, prover and archiver then the whole journal, the notary what they did."""
    ledger.publish(EVENTS)
    processes = {name: ledger.start(name) for name in PROCESSES}
    watch = Watch(processes)
    watch.start()
    try:
        ledger.wait_finished()
    finally:
        watch.done.set()
        watch.join()
    for name, peak in watch.peaks.items():
        assert 0 < peak < RSS_BYTES_MAX, f"{name} took {peak / 1e6:.0f} MB"
    for name, process in processes.items():
        assert process.noise == [], (name, process.noise[:3])
        assert not process.said("service.unavailable"), f"{name} lost its footing:\n{process.tail()}"
    archived = verify_archive(open_archive(ledger.settings), "dev", read_registry(ledger.settings.signers_path))
    assert archived.sound, archived.findings[:5]
    assert archived.counts["entries"] == EVENTS
