"""The loop around a service: what waits, what ends, and what is told on the way. Time and stop are the test's own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from consumers.metrics import NullMetrics
from consumers.service import IDLE_WAIT_SECONDS, Backoff, run_service
from ledger_core.errors import Corrupt, FinanceError, Refused, Unavailable

BACKOFF = Backoff(delay_ms_min=200, delay_ms_max=10_000)
AWAY = Unavailable("postgres", "gone")


class Stop(threading.Event):
    """Waiting takes no time but moves the clock; after `waits_max` waits it is set."""

    def __init__(self, waits_max: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.now = 0.0
        self._waits_max = waits_max

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.now += timeout
        self.waits.append(timeout)
        if len(self.waits) >= self._waits_max:
            self.set()
        return self.is_set()

    @property
    def between_tries(self) -> list[float]:
        return [wait for wait in self.waits if wait != IDLE_WAIT_SECONDS]


class Counted(NullMetrics):
    def __init__(self) -> None:
        self.away: list[str] = []

    def unavailable(self, what: str) -> None:
        self.away.append(what)


@dataclass
class Scripted:
    """Each call of `step` takes the next of the script: an error to raise, or whether something was done."""

    script: list[bool | FinanceError]
    stop: Stop
    step_seconds: float = 0.0
    name: str = "scripted"
    closed: int = 0
    close_error: Exception | None = None
    built: list[int] = field(default_factory=list)

    def build(self) -> Scripted:
        self.built.append(1)
        return self

    def step(self) -> bool:
        self.stop.now += self.step_seconds
        if not self.script:
            self.stop.set()
            return False
        item = self.script.pop(0)
        if isinstance(item, FinanceError):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1
        if self.close_error is not None:
            raise self.close_error


def run(
    service: Scripted, metrics: Counted | None = None, on_corrupt: Callable[[Corrupt], None] = lambda _error: None
) -> int:
    return run_service(
        service.build,
        stop=service.stop,
        metrics=metrics or Counted(),
        backoff=BACKOFF,
        on_corrupt=on_corrupt,
        monotonic=lambda: service.stop.now,
    )


def test_every_failed_try_is_counted_and_waited_for_longer_up_to_the_limit() -> None:
    service, metrics = Scripted([AWAY] * 12, Stop(100)), Counted()
    assert run(service, metrics) == 0
    waits = service.stop.between_tries
    for number, wait in enumerate(waits):
        ceiling = min(10.0, 0.2 * 2**number)
        assert ceiling / 2 <= wait <= ceiling
    assert metrics.away == ["postgres"] * 12
    assert len(service.built) == service.closed == 13


def test_a_service_that_gets_a_little_done_each_time_is_still_waited_for_longer() -> None:
    """Else one that can read but not write would be built anew five times a second, for hours."""
    service = Scripted([True, AWAY] * 8, Stop(100))
    run(service)
    assert service.stop.between_tries[-1] >= 5.0


def test_after_a_while_without_failure_the_waits_start_small_again() -> None:
    service = Scripted([*[AWAY] * 8, *[True] * 12, AWAY], Stop(100), step_seconds=1.0)
    run(service)
    assert service.stop.between_tries[-1] <= 0.2


def test_an_idle_service_that_was_well_for_a_while_starts_small_too() -> None:
    service = Scripted([*[AWAY] * 8, *[False] * 12, AWAY], Stop(100), step_seconds=1.0)
    run(service)
    assert service.stop.between_tries[-1] <= 0.2


def test_refused_ends_with_3_and_closes() -> None:
    service = Scripted([Refused("no lock", remedy="make one")], Stop(100))
    assert run(service) == 3
    assert service.closed == 1


@pytest.mark.parametrize("halt_fails", [False, True])
def test_corrupt_ends_with_1_after_the_halt_was_asked_for_even_when_that_fails(halt_fails: bool) -> None:
    told: list[Corrupt] = []

    def halt(error: Corrupt) -> None:
        told.append(error)
        if halt_fails:
            raise AWAY

    service = Scripted([Corrupt("a gap")], Stop(100))
    assert run(service, on_corrupt=halt) == 1
    assert [str(error) for error in told] == ["a gap"]


def test_a_close_that_fails_changes_nothing() -> None:
    service = Scripted([AWAY, True], Stop(100), close_error=RuntimeError("the same server is away"))
    assert run(service) == 0
    assert service.closed == len(service.built) == 2


def test_renewed_certificates_build_the_service_anew_at_once() -> None:
    stop = Stop(waits_max=4)
    made: list[Scripted] = []
    answers = iter([False, True])

    def build() -> Scripted:
        made.append(Scripted([True] * 9, stop))
        return made[-1]

    assert (
        run_service(build, stop=stop, metrics=NullMetrics(), backoff=BACKOFF, renewed=lambda: next(answers, False)) == 0
    )
    assert [service.closed for service in made] == [1, 1]
    assert stop.between_tries == []
