"""`finance run all`: each process as a child of its own, on one machine, for development, demos and small deployments.

Guarantees: a child that ends unasked is named with its exit code and started again after a growing wait.
Not started again: a child whose record contradicts itself (1), and one that a guard refuses (3) and that was never up
for `SETTLED_SECONDS`: then everything stops, with that code. Children end with this process, even when it is killed.
Does not: know what the children do. In larger deployments an orchestrator does this job, one process a container.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from consumers.service import EXIT_FINDINGS, EXIT_REFUSED, EXIT_SOUND, Backoff
from finance.settings.child_environment import inherited

SETTLED_SECONDS: Final = 15.0  # a child that ran so long has its settings right: a later refusal may pass
STOP_TIMEOUT_SECONDS: Final = 30.0  # a batch in flight, and a barrier of 20 s
POLL_SECONDS: Final = 0.2
BACKOFF: Final = Backoff(delay_ms_min=500, delay_ms_max=30_000)

log = structlog.get_logger("supervisor")


@dataclass(slots=True)
class Child:
    """One process to keep running. `name` is unique (poster-2)."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    was_up: bool = False  # once for so long that its settings were right
    start_again_at: float = field(default=0.0)


class Supervisor:
    """Keeps children running until `stop` is set. `finished` is asked about twice a second and ends the run soundly."""

    def __init__(
        self,
        children: Sequence[Child],
        *,
        stop: threading.Event,
        finished: Callable[[], bool] = lambda: False,
        backoff: Backoff = BACKOFF,
        settled_seconds: float = SETTLED_SECONDS,
        stop_timeout_seconds: float = STOP_TIMEOUT_SECONDS,
    ) -> None:
        self._children = children
        self._backoff = backoff
        self._settled_seconds = settled_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._stop = stop
        self._finished = finished

    def run(self) -> int:
        """The exit code: 0 stopped by a signal or finished; 1 or 3 that of the child which ended it."""
        code = EXIT_SOUND
        try:
            for child in self._children:
                self._start(child)
            asked_at = time.monotonic()
            while not self._stop.wait(POLL_SECONDS):
                ended = self._look_after()
                if ended is not None:
                    code = ended
                    break
                if time.monotonic() - asked_at >= 0.5:
                    if self._finished():
                        break
                    asked_at = time.monotonic()
        finally:
            stopped = self._stop_all()
        return code or stopped

    def _look_after(self) -> int | None:
        """Start again what ended; an exit code when the whole must end."""
        now = time.monotonic()
        for child in self._children:
            if child.process is None:
                if now >= child.start_again_at:
                    self._start(child)
                continue
            code = child.process.poll()
            if code is None:
                continue
            early = now - child.started < self._settled_seconds
            child.was_up = child.was_up or not early
            if code == EXIT_FINDINGS or (code == EXIT_REFUSED and not child.was_up):
                log.critical("supervisor.child_ended", child=child.name, exit_code=code, then="everything stops")
                child.process = None
                return code
            child.failures = 1 if not early else child.failures + 1
            wait_seconds = self._backoff.seconds(child.failures)
            child.process, child.start_again_at = None, now + wait_seconds
            log.error(
                "supervisor.child_ended",
                child=child.name,
                exit_code=code,
                failures=child.failures,
                then=f"starts again in {wait_seconds:.1f} s",
            )
        return None

    def _start(self, child: Child) -> None:
        """A session of its own: an interrupt at the terminal reaches us, and we signal the children."""
        child.process = subprocess.Popen(  # noqa: S603  # our own interpreter and our own arguments
            child.command, stdin=subprocess.PIPE, env=dict(child.environ), start_new_session=True
        )
        child.started = time.monotonic()
        log.info("supervisor.child_started", child=child.name, pid=child.process.pid)

    def _stop_all(self) -> int:
        """Ask all, wait for all; what does not end in time is killed, and that is not a sound end."""
        running = [child for child in self._children if child.process is not None]
        for child in running:
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._stop_timeout_seconds
        code = EXIT_SOUND
        for child in running:
            if child.process is None:
                continue
            try:
                ended = child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("supervisor.child_killed", child=child.name, waited_seconds=self._stop_timeout_seconds)
                child.process.kill()
                child.process.wait()
                continue
            log.info("supervisor.child_stopped", child=child.name, exit_code=ended)
            if ended == EXIT_FINDINGS:
                code = EXIT_FINDINGS
        return code


def children(processes: Mapping[str, int], *, posters: int, environ: Mapping[str, str] | None = None) -> list[Child]:
    """One child a process, `posters` of the poster. `processes`: name -> metrics port; more posters take any."""
    surroundings = inherited() if environ is None else dict(environ)
    made: list[Child] = []
    for name, port in processes.items():
        for number in range(1, (posters if name == "poster" else 1) + 1):
            own = {**surroundings, f"{name.upper()}_METRICS_PORT": str(port if number == 1 else 0)}
            command = (sys.executable, "-m", "finance", "run", name, "--stop-on-eof")
            made.append(Child(name if number == 1 else f"{name}-{number}", command, own))
    return made
