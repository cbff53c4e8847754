"""The metrics of `finance.telemetry.metric_list` as Prometheus wants them, each made once in a registry of its own.

Guarantees: a name that the list does not have, or has as another kind, is an error when a surface is made, not when it
speaks. Label values that the list knows stand at 0 before the first event.
Does not: say when a metric moves: see `finance.telemetry.surfaces`.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from finance.telemetry.metric_list import METRICS, Metric

disable_created_metrics()  # type: ignore[no-untyped-call]  # the page would double


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


K = TypeVar("K", Counter, Gauge, BatchHistogram)


class MetricExporter:
    """Every metric of the list, by its name, for one process."""

    def __init__(self, *, process: str, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, CPU and open files, under their usual names
        self._made = {metric.name: _make(metric, self.registry) for metric in METRICS}
        self.gauge("finance_process_info").labels(process, version).set(1)

    def counter(self, name: str) -> Counter:
        return self._of(Counter, name)

    def gauge(self, name: str) -> Gauge:
        return self._of(Gauge, name)

    def histogram(self, name: str) -> BatchHistogram:
        return self._of(BatchHistogram, name)

    def _of(self, kind: type[K], name: str) -> K:
        made = self._made[name]
        if not isinstance(made, kind):
            raise TypeError(f"{name} is not a {kind.__name__}")
        return made


def _make(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | BatchHistogram:
    if metric.kind == "histogram":
        return BatchHistogram(metric, registry)
    kind = Counter if metric.kind == "counter" else Gauge
    made = kind(metric.name, metric.meaning, metric.labels, registry=registry)
    for value in metric.known:
        made.labels(value)
    return made
