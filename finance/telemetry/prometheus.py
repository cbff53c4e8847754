"""What a process tells about itself: log lines, and the metrics of `finance.telemetry.metric_list`.

Guarantees: log lines go to stderr, as JSON one a line (or in colour on a terminal), each with time, level, process and
whatever is bound to the context (trace_id, shard, seq range). Telling never raises and never waits.
Does not: log per event; consumers log one line a batch.
"""

from __future__ import annotations

import bisect
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from finance.settings.deployment import LogFormat
from finance.telemetry import metric_list as names
from finance.telemetry.health import Health
from finance.telemetry.metric_list import Metric
from ledger_core.errors import RejectReason, SignerFailure

CIRCUIT_STATES: Final = ("closed", "half_open", "open")  # the gauge's 0, 1, 2
OBJECTS_PER_EXPORT: Final = 2  # a batch and its manifest
disable_created_metrics()  # type: ignore[no-untyped-call]  # the page would double


def configure_logging(*, process: str, log_format: LogFormat, level: str) -> None:
    """Set up structlog, and the libraries' own logging behind it, for the whole interpreter."""
    lowest = logging.getLevelNamesMapping()[level.upper()]
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    render: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dumps)]
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _process_name(process),
    ]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(lowest),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove, *render]))
    logging.basicConfig(handlers=[handler], level=max(lowest, logging.WARNING), force=True)


def _process_name(process: str) -> Callable[[Any, str, MutableMapping[str, Any]], MutableMapping[str, Any]]:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    return add


def _dumps(event: object, default: Callable[[Any], Any] | None = None, **_: object) -> str:
    return orjson.dumps(event, default=default or repr).decode()


class BatchHistogram(Collector):
    """A histogram whose observations carry a count: one call for a batch of thousands (prometheus_client has none)."""

    def __init__(self, metric: Metric, registry: CollectorRegistry) -> None:
        self._metric = metric
        self._bounds = metric.buckets
        self._counts = [0] * (len(metric.buckets) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, value: float, count: int = 1) -> None:
        with self._lock:
            self._counts[bisect.bisect_left(self._bounds, value)] += count
            self._sum += value * count

    def collect(self) -> Iterable[HistogramMetricFamily]:
        with self._lock:
            counts, total = list(self._counts), self._sum
        buckets, running = [], 0
        for bound, count in zip([*map(str, self._bounds), "+Inf"], counts, strict=True):
            running += count
            buckets.append((bound, running))
        family = HistogramMetricFamily(self._metric.name, self._metric.meaning)
        family.add_metric([], buckets=buckets, sum_value=total)
        yield family


class PrometheusMetrics:
    """`consumers.metrics.Metrics` on a registry of its own; tells `health` what it must know."""

    def __init__(
        self,
        *,
        process: str,
        version: str,
        health: Health,
        now: Callable[[], float] = time.time,  # noqa: TID251  (an argument; this is its default)
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.registry = CollectorRegistry()
        self._health = health
        self._now = now
        self._beat = beat  # told of progress, as the health is
        ProcessCollector(registry=self.registry)  # memory, CPU and open files, under their usual names
        self._posts = self._counter(names.POSTS)
        self._post_latency = BatchHistogram(names.POST_LATENCY, self.registry)
        self._duplicates = self._counter(names.DUPLICATES)
        self._dead_letters = self._counter(names.DEAD_LETTERS)
        self._relayed = self._counter(names.RELAYED)
        self._proofs = self._counter(names.PROOFS)
        self._proof_duration = BatchHistogram(names.PROOF_DURATION, self.registry)
        self._exports = self._counter(names.EXPORTS)
        self._archive_objects = self._counter(names.ARCHIVE_OBJECTS)
        self._audit_events = self._counter(names.AUDIT_EVENTS)
        self._backup_age = self._gauge(names.BACKUP_AGE)
        self._wal_lag_bytes = self._gauge(names.WAL_LAG_BYTES)
        self._wal_lag_seconds = self._gauge(names.WAL_LAG_SECONDS)
        self._wal_stored = self._counter(names.WAL_STORED)
        self._backup_failures = self._counter(names.BACKUP_FAILURES)
        self._backup_noted: dict[str, int] = {}
        self._lag_records = self._gauge(names.LAG_RECORDS)
        self._lag_seconds = self._gauge(names.LAG_SECONDS)
        self._halted = self._gauge(names.HALTED)
        self._unavailable = self._counter(names.UNAVAILABLE)
        self._signer_failures = self._counter(names.SIGNER_FAILURES)
        self._signer_circuit = self._gauge(names.SIGNER_CIRCUIT)
        self._last_step = self._gauge(names.LAST_STEP)
        self._door_answers = self._counter(names.DOOR_ANSWERS)
        self._door_turned_away = self._counter(names.DOOR_TURNED_AWAY)
        self._certificate_expiry = self._gauge(names.CERTIFICATE_EXPIRY)
        self._reload_failures = self._counter(names.RELOAD_FAILURES)
        self._proxy_requests = self._counter(names.PROXY_REQUESTS)
        self._gauge(names.PROCESS).labels(process, version).set(1)
        for reason in RejectReason:  # a rate needs the zero before the first
            self._dead_letters.labels(reason.value)
        for failure in SignerFailure:
            self._signer_failures.labels(failure.value)
        for command in ("create", "prune", "sign", "stream", "verify"):
            self._backup_failures.labels(command)
        for what in ("kafka", "postgres", "s3", "signer"):
            self._unavailable.labels(what)

    def posted(self, shard: int, count: int, latency_seconds: float) -> None:
        self._posts.labels(shard).inc(count)
        self._post_latency.observe(latency_seconds, count)
        self._health.worked()

    def duplicates(self, shard: int, count: int) -> None:
        self._duplicates.labels(shard).inc(count)
        self._health.worked()

    def rejected(self, reason: str, count: int) -> None:
        self._dead_letters.labels(reason).inc(count)
        self._health.worked()

    def relayed(self, shard: int, count: int) -> None:
        self._relayed.labels(shard).inc(count)
        self._health.worked()

    def proof(self, seconds: float) -> None:
        self._proofs.inc()
        self._proof_duration.observe(seconds)
        self._health.worked()

    def exported(self) -> None:
        self._exports.inc()
        self._archive_objects.inc(OBJECTS_PER_EXPORT)
        self._health.worked()

    def audited(self, count: int) -> None:
        self._audit_events.inc(count)
        self._health.worked()

    def lag(self, shard: int, records: int, seconds: float) -> None:
        self._lag_records.labels(shard).set(records)
        self._lag_seconds.labels(shard).set(seconds)
        self._health.lag(shard, records, seconds)

    def released(self, shard: int) -> None:
        self._lag_records.remove_by_labels({"shard": str(shard)})
        self._lag_seconds.remove_by_labels({"shard": str(shard)})
        self._health.released(shard)

    def backup_age(self, seconds: float) -> None:
        self._backup_age.set(seconds)

    def backup_failed(self, what: str) -> None:
        self._backup_failures.labels(what).inc()

    def backup_failures(self, noted: Mapping[str, int]) -> None:
        """What commands noted so far, by name; told again and again."""
        for what, count in noted.items():
            self._backup_failures.labels(what).inc(max(0, count - self._backup_noted.get(what, 0)))
            self._backup_noted[what] = count

    def wal_lag(self, lag_bytes: int, lag_seconds: float) -> None:
        self._wal_lag_bytes.set(lag_bytes)
        self._wal_lag_seconds.set(lag_seconds)

    def wal_stored(self, stored_bytes: int) -> None:
        self._wal_stored.inc(stored_bytes)
        self._health.worked()

    def halted(self, halted: bool) -> None:
        self._halted.set(1 if halted else 0)
        self._health.halted(halted)

    def unavailable(self, what: str) -> None:
        self._unavailable.labels(what).inc()
        self._health.unavailable(what)

    def signer_failed(self, reason: str) -> None:
        self._signer_failures.labels(reason).inc()

    def signer_circuit(self, kid: str, state: str) -> None:
        self._signer_circuit.labels(kid).set(CIRCUIT_STATES.index(state))
        self._health.signer_circuit(kid, state)

    def progress(self) -> None:
        self._last_step.set(self._now())
        self._health.stepped()
        self._beat()

    def door_answered(self, status: int) -> None:
        self._door_answers.labels(status).inc()

    def door_turned_away(self, code: str) -> None:
        self._door_turned_away.labels(code).inc()

    def certificate_expires(self, certificate: str, at: float) -> None:
        self._certificate_expiry.labels(certificate).set(at)

    def reload_failed(self, what: str) -> None:
        self._reload_failures.labels(what).inc()

    def proxy_request(self, verdict: str) -> None:
        self._proxy_requests.labels(verdict).inc()

    def _counter(self, metric: Metric) -> Counter:
        return Counter(metric.name, metric.meaning, metric.labels, registry=self.registry)

    def _gauge(self, metric: Metric) -> Gauge:
        return Gauge(metric.name, metric.meaning, metric.labels, registry=self.registry)
