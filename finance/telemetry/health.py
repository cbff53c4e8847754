"""`/healthz` (progress, not mere life) and `/metrics` over HTTP.

Guarantees: 200 only when a step ended without failure within the last `stall_seconds`, and in that time either
something was done, or nothing waited, or posting was halted on purpose; and no lock was waited for in vain since
something was done. Else 503. The JSON body says which, in one word and in facts. Who may ask, and how much, is the
door's affair (`finance.door`); no request delays the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from consumers.service import LOCK
from finance.door.problem import Answer, Request, Route

SCOPE: Final = "metrics"


@dataclass(frozen=True, slots=True)
class Lag:
    """What waited on a shard when it was reported, at monotonic time `told`."""

    records: int  # that wait
    seconds: float  # age of the oldest that waits
    told: float  # monotonic, seconds


class Health:
    """Decides from what a process reports whether it gets on. Thread-safe; `clock` is monotonic seconds."""

    def __init__(self, *, process: str, stall_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._process = process
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._started = self._stepped = self._worked = clock()
        self._halted = False
        self._unavailable: str | None = None
        self._locked_out: float | None = None  # when a lock was last waited for in vain; None since work was done
        self._lag: dict[int, Lag] = {}
        self._signers: dict[str, str] = {}
        self._unknown_rules: dict[int, int] = {}

    def stepped(self) -> None:
        with self._lock:
            self._stepped = self._clock()
            self._unavailable = None

    def worked(self) -> None:
        with self._lock:
            self._worked = self._clock()
            self._locked_out = None

    def lag(self, shard: int, records: int, seconds: float) -> None:
        """Less waiting than before counts as work done."""
        with self._lock:
            before = self._lag.get(shard)
            now = self._clock()
            if records == 0 or (before is not None and records < before.records):
                self._worked = now
            self._lag[shard] = Lag(records, seconds, now)

    def released(self, shard: int) -> None:
        with self._lock:
            self._lag.pop(shard, None)
            self._unknown_rules.pop(shard, None)

    def halted(self, halted: bool) -> None:
        with self._lock:
            self._halted = halted

    def rules(self, shard: int, number: int, *, known: bool) -> None:
        """A shard that waits for a version that knows its rules is a fact to see: the others go on."""
        with self._lock:
            if known:
                self._unknown_rules.pop(shard, None)
            else:
                self._unknown_rules[shard] = number

    def signer_circuit(self, kid: str, state: str) -> None:
        """An open circuit is a fact to see, not ill health: posting, closing and archiving go on."""
        with self._lock:
            self._signers[kid] = state

    def unavailable(self, what: str) -> None:
        with self._lock:
            self._unavailable = what
            if what == LOCK:
                self._locked_out = self._clock()

    def report(self) -> tuple[bool, dict[str, object]]:
        """Whether the process gets on, and the facts."""
        with self._lock:
            now = self._clock()
            step_age, work_age = now - self._stepped, now - self._worked
            waiting = any(lag.records > 0 and now - lag.told <= self._stall_seconds for lag in self._lag.values())
            if step_age > self._stall_seconds:
                state = f"waiting for {self._unavailable}" if self._unavailable else "stalled"
            elif self._locked_out is not None and now - self._locked_out <= self._stall_seconds:
                state = "waiting for a lock"  # steps that do not need it end well, and nothing gets on
            elif self._halted:
                state = "halted"
            elif waiting and work_age > self._stall_seconds:
                state = "stuck"
            else:
                state = "waiting for records" if not waiting else "working"
            sound = state in ("halted", "waiting for records", "working")
            facts: dict[str, object] = {
                "ok": sound,
                "process": self._process,
                "state": state,
                "last_step_age_seconds": round(step_age, 3),
                "last_work_age_seconds": round(work_age, 3),
                "up_seconds": round(now - self._started, 3),
                "lag": {
                    str(shard): {"records": lag.records, "seconds": round(lag.seconds, 3)}
                    for shard, lag in sorted(self._lag.items())
                },
                "signers": dict(self._signers),
                "unknown_rules": {str(shard): number for shard, number in sorted(self._unknown_rules.items())},
            }
        return sound, facts


def telemetry_routes(health: Health, registry: CollectorRegistry) -> dict[tuple[str, str], Route]:
    """`/metrics` and `/healthz` as routes of a door; both want the scope `metrics`."""

    def metrics(_: Request) -> Answer:
        return Answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)

    def healthz(_: Request) -> Answer:
        sound, facts = health.report()
        return Answer.of(facts, 200 if sound else 503)

    return {("GET", "/metrics"): Route(metrics, SCOPE), ("GET", "/healthz"): Route(healthz, SCOPE)}
