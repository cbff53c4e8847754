"""`finance run all` under kill -9: a child comes back, named; and nobody outlives the supervisor."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest

from finance.settings.variables import PROCESSES
from tests.support.command_line import Finance
from tests.support.waits import PATIENCE_SECONDS


class Running:
    """A supervisor, and its log lines as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[dict[str, object]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("{"):
                self._lines.put(json.loads(line))

    def wait_for(self, wanted: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        while True:
            line = self._lines.get(timeout=PATIENCE_SECONDS)
            if wanted(line):
                return line

    def started(self, child: str) -> int:
        line = self.wait_for(lambda line: line["event"] == "supervisor.child_started" and line["child"] == child)
        return int(str(line["pid"]))


@pytest.fixture
def running(environ: dict[str, str]) -> Iterator[Running]:
    process = Finance(environ).start("run", "all")
    yield Running(process)
    for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
        child.kill()
    process.kill()
    process.wait()


def test_a_killed_child_is_named_and_comes_back(running: Running) -> None:
    os.kill(running.started("prover"), signal.SIGKILL)
    ended = running.wait_for(lambda line: line["event"] == "supervisor.child_ended")
    assert (ended["child"], ended["exit_code"]) == ("prover", -signal.SIGKILL)
    running.started("prover")
    running.wait_for(lambda line: line["event"] == "service.started" and line["process"] == "prover")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(PATIENCE_SECONDS) == 0


def test_no_child_outlives_a_killed_supervisor(running: Running) -> None:
    running.started(PROCESSES[-1])
    running.wait_for(lambda line: line["event"] == "service.started")
    children = psutil.Process(running.process.pid).children()
    assert len(children) == len(PROCESSES)
    running.process.kill()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_SECONDS)
    assert alive == []
