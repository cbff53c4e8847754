"""`/healthz` (progress, not mere life) and `/metrics` over HTTP.

Guarantees: 200 only when a step ended without failure within the last `stall_seconds`, and in that time either
something was done, or nothing waited, or posting was halted on purpose. Else 503. The JSON body says which, in one word
and in facts. Listens on the loopback address unless told otherwise; answers GET only; no request holds up the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

REQUEST_TIMEOUT_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Lag:
    """What waited on a shard when it was told, at monotonic time `told`."""

    records: int
    seconds: float
    told: float


class Health:
    """Decides from what a process tells whether it gets on. Thread-safe; `clock` is monotonic seconds."""

    def __init__(self, *, process: str, stall_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._process = process
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._started = self._stepped = self._worked = clock()
        self._halted = False
        self._unavailable: str | None = None
        self._lag: dict[int, Lag] = {}

    def stepped(self) -> None:
        with self._lock:
            self._stepped = self._clock()
            self._unavailable = None

    def worked(self) -> None:
        with self._lock:
            self._worked = self._clock()

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

    def halted(self, halted: bool) -> None:
        with self._lock:
            self._halted = halted

    def unavailable(self, what: str) -> None:
        with self._lock:
            self._unavailable = what

    def report(self) -> tuple[bool, dict[str, object]]:
        """Whether the process gets on, and the facts."""
        with self._lock:
            now = self._clock()
            step_age, work_age = now - self._stepped, now - self._worked
            waiting = any(lag.records > 0 and now - lag.told <= self._stall_seconds for lag in self._lag.values())
            if step_age > self._stall_seconds:
                state = f"waiting for {self._unavailable}" if self._unavailable else "stalled"
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
            }
        return sound, facts


class TelemetryServer:
    """Serves both paths from a daemon thread. `port` 0 takes a free one: read it from `.port`.

    Raises OSError when the address cannot be had.
    """

    def __init__(self, health: Health, registry: CollectorRegistry, *, host: str, port: int) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(health, registry))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="telemetry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(health: Health, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_SECONDS
        server_version = "finance"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif path == "/healthz":
                sound, facts = health.report()
                self._answer(200 if sound else 503, "application/json", orjson.dumps(facts) + b"\n")
            else:
                self._answer(404, "text/plain; charset=utf-8", b"only /metrics and /healthz are here\n")

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Probes come every few seconds: they are no news."""

    return Handler
