"""Running a service for as long as it may run: back-off while something is away, a loud end when something is wrong.

Guarantees: a service that raises Unavailable is closed and built anew after a bounded, growing, jittered wait, with one
log line and one count for each try (never a busy loop); every other failure ends the process with its exit code.
Does not: hide, swallow or repair. Recovery is the service's normal path: it asks Postgres where it was.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from consumers.metrics import Metrics
from ledger_core.errors import Corrupt, LockHeld, Refused, Unavailable

EXIT_SOUND, EXIT_FINDINGS, EXIT_REFUSED, EXIT_UNAVAILABLE = 0, 1, 3, 4
IDLE_WAIT_SECONDS = 0.05
LOCK = "lock"  # instead of the server's name: it answers, and somebody else keeps what is needed

log = structlog.get_logger("service")


class Service(Protocol):
    """One bounded unit of work at a time. See the consumers of this package."""

    @property
    def name(self) -> str: ...

    def step(self) -> bool:
        """Do at most about a second of work or waiting; True when something was done."""
        ...

    def close(self) -> None:
        """Give everything back. Called once, also after a failure; what was not committed is simply not done."""
        ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits in milliseconds: from `delay_ms_min`, doubling, up to `delay_ms_max`, each with up to half of jitter."""

    delay_ms_min: int = 200
    delay_ms_max: int = 10_000

    def seconds(self, failures: int, jitter: Callable[[], float] = random.random) -> float:
        ceiling: int = min(self.delay_ms_max, self.delay_ms_min * 2 ** min(failures - 1, 20))
        return ceiling * (0.5 + 0.5 * jitter()) / 1000


def run_service(
    build: Callable[[], Service],
    *,
    stop: threading.Event,
    metrics: Metrics,
    backoff: Backoff = Backoff(),
    on_corrupt: Callable[[Corrupt], None] = lambda _error: None,
    renewed: Callable[[], bool] = lambda: False,
    beat: Callable[[], None] = lambda: None,
    monotonic: Callable[[], float] = time.monotonic,
) -> int:
    """Run until `stop` is set (exit code 0) or a failure that waiting cannot mend (its exit code).

    `on_corrupt` is called before the process ends: it halts posting, so that nothing is built on a broken record.
    `renewed` is asked between two steps: when it says so (new certificates), the service is closed and built anew.
    `beat` is called for everything that ended: a build, a step, a wait, a close.
    """
    failures = 0
    while not stop.is_set():
        service: Service | None = None
        try:
            service = build()
            beat()
            settled_at = monotonic() + backoff.delay_ms_max / 1000
            log.info("service.started", service=service.name)
            while not stop.is_set():
                worked = service.step()
                beat()
                metrics.progress()
                if monotonic() >= settled_at:  # not at the first work done: it may be all that works
                    failures = 0
                if renewed():
                    log.info("service.renewing", service=service.name)
                    break
                if not worked:
                    stop.wait(IDLE_WAIT_SECONDS)
        except Unavailable as error:
            failures += 1
            beat()
            stop.wait(_told_away(error, failures, backoff.seconds(failures), metrics))
        except Refused as error:
            log.error("service.refused", message=error.message, remedy=error.remedy)
            return EXIT_REFUSED
        except Corrupt as error:
            log.critical("service.corrupt", detail=str(error))
            _tell_corrupt(on_corrupt, error)
            return EXIT_FINDINGS
        finally:
            if service is not None:
                _close(service)
                beat()
    log.info("service.stopped")
    return EXIT_SOUND


def _told_away(error: Unavailable, failures: int, wait_seconds: float, metrics: Metrics) -> float:
    """Count it, say it in one line; the seconds to wait."""
    metrics.unavailable(LOCK if isinstance(error, LockHeld) else error.what)
    log.warning(
        "service.unavailable", what=error.what, detail=error.detail, failures=failures, retry_seconds=wait_seconds
    )
    return wait_seconds


def _tell_corrupt(on_corrupt: Callable[[Corrupt], None], error: Corrupt) -> None:
    """The halt may itself fail: the process must end with its exit code all the same."""
    try:
        on_corrupt(error)
    except Exception as failure:
        log.critical("service.halt_failed", error=repr(failure), remedy="run `finance halt --reason ...`")


def _close(service: Service) -> None:
    """Closing after a failure may itself fail (the same server is away): that is logged, and changes nothing."""
    try:
        service.close()
    except Exception as error:
        log.warning("service.close_failed", service=service.name, error=repr(error))
