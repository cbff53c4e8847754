"""What a process tells about itself is complete, documented and honest about progress."""

from __future__ import annotations

import datetime as dt
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from finance.door.gate import Gate
from finance.door.server import Door
from finance.telemetry import surfaces
from finance.telemetry.health import Health, telemetry_routes
from finance.telemetry.metric_list import METRICS
from finance.telemetry.prometheus import MetricExporter
from finance.telemetry.surfaces import PrometheusDoor, PrometheusProxy, PrometheusWork

STALL_SECONDS = 30


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(process="poster", stall_seconds=STALL_SECONDS, clock=clock)


@pytest.fixture
def exporter() -> MetricExporter:
    return MetricExporter(process="poster", version="1.2.3")


@pytest.fixture
def metrics(exporter: MetricExporter, health: Health) -> PrometheusWork:
    return PrometheusWork(exporter, health, now=lambda: 5.0)


def tell_everything(exporter: MetricExporter, metrics: PrometheusWork) -> None:
    metrics.posted(0, 4000, 0.08)
    metrics.duplicates(0, 2)
    metrics.no_record(0, 3)
    metrics.rejected("conflict", 1)
    metrics.relayed(0, 4003)
    metrics.proof(0.4)
    metrics.checkpoint(1, 0.5)
    metrics.exported()
    metrics.audited(7)
    metrics.intents_refused(2)
    metrics.lag(1, 12, 0.5)
    metrics.projected(1, 3)
    metrics.projection(1, 1.5, stands=False)
    metrics.halted(True)
    metrics.stopped(1, halted=True, slowed=False)
    metrics.rules(1, 3, known=False)
    metrics.unavailable("kafka")
    metrics.signer_failed("refused")
    metrics.signer_circuit("test-v1", "open")
    metrics.progress()
    door = PrometheusDoor(exporter)
    door.door_answered(200)
    door.door_turned_away("NO_CREDENTIAL")
    door.certificate_expires("door", 5.0)
    door.reload_failed("certificates")
    PrometheusProxy(exporter).proxy_request("signed")


def samples(exporter: MetricExporter) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = generate_latest(exporter.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_metric_of_the_list_is_exported_and_no_other(exporter: MetricExporter, metrics: PrometheusWork) -> None:
    tell_everything(exporter, metrics)
    exported = {name for name, _ in samples(exporter)}
    ours = {name for name in exported if name.startswith("finance_") and not name.endswith("_created")}
    expected = set()
    for metric in METRICS:
        endings = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
        expected |= {metric.name + ending for ending in endings}
    assert ours == expected
    assert "process_resident_memory_bytes" in exported


def test_every_metric_of_the_list_is_moved_by_one_surface() -> None:
    """`finance_process_info` is the exporter's own: it never moves."""
    named = re.findall(r'exporter\.\w+\("(\w+)"\)', Path(surfaces.__file__).read_text("utf-8"))
    assert sorted(named) == sorted(metric.name for metric in METRICS if metric.name != "finance_process_info")


def test_a_surface_that_asks_for_another_kind_or_name_is_not_made(exporter: MetricExporter) -> None:
    with pytest.raises(TypeError, match="finance_halted is not a Counter"):
        exporter.counter("finance_halted")
    with pytest.raises(KeyError):
        exporter.counter("finance_unheard_of_total")


def test_a_batch_counts_every_entry_in_the_latency_histogram(exporter: MetricExporter, metrics: PrometheusWork) -> None:
    tell_everything(exporter, metrics)
    metrics.posted(1, 10, 99.0)
    found = samples(exporter)
    name = "finance_ledger_post_latency_seconds"
    assert found[(name + "_count", ())] == 4010
    assert found[(name + "_sum", ())] == pytest.approx(4000 * 0.08 + 990)
    assert found[(name + "_bucket", (("le", "0.05"),))] == 0
    assert found[(name + "_bucket", (("le", "0.1"),))] == 4000
    assert found[(name + "_bucket", (("le", "60.0"),))] == 4000
    assert found[(name + "_bucket", (("le", "+Inf"),))] == 4010


def test_a_value_on_a_bucket_bound_is_inside_the_bucket(exporter: MetricExporter, metrics: PrometheusWork) -> None:
    metrics.posted(0, 1, 0.1)
    assert samples(exporter)[("finance_ledger_post_latency_seconds_bucket", (("le", "0.1"),))] == 1


def test_a_released_shard_has_no_lag_any_more(exporter: MetricExporter, metrics: PrometheusWork) -> None:
    metrics.lag(3, 5, 1.0)
    metrics.released(3)
    metrics.released(3)
    assert not [key for key in samples(exporter) if key[0].startswith("finance_consumer_lag")]


def test_every_rejection_reason_stands_at_zero_before_the_first(exporter: MetricExporter) -> None:
    assert samples(exporter)[("finance_dead_letters_total", (("reason", "conflict"),))] == 0


def state(health: Health) -> tuple[bool, object]:
    sound, facts = health.report()
    return sound, facts["state"]


def test_health_is_lost_when_no_step_ends(health: Health, clock: Clock) -> None:
    health.stepped()
    assert state(health) == (True, "waiting for records")
    clock.now += STALL_SECONDS + 1
    assert state(health) == (False, "stalled")
    health.unavailable("kafka")
    assert state(health) == (False, "waiting for kafka")
    health.stepped()
    assert state(health) == (True, "waiting for records")


def test_health_is_lost_when_records_wait_and_steps_do_nothing(health: Health, clock: Clock) -> None:
    for _ in range(4):
        clock.now += 10
        health.stepped()
        health.lag(0, 7, 1.0)
    assert state(health) == (False, "stuck")
    health.worked()
    assert state(health) == (True, "working")


def test_a_shrinking_lag_is_progress_and_a_steady_one_is_not(health: Health, clock: Clock) -> None:
    for records in (90, 80, 70, 60, 50):
        clock.now += 10
        health.stepped()
        health.lag(0, records, 1.0)
    assert state(health) == (True, "working")


def test_a_halt_on_purpose_is_healthy(health: Health, clock: Clock) -> None:
    health.halted(True)
    for _ in range(5):
        clock.now += 10
        health.stepped()
        health.lag(0, 7, 1.0)
    assert state(health) == (True, "halted")


def test_lag_told_long_ago_does_not_count(health: Health, clock: Clock) -> None:
    health.lag(0, 7, 1.0)
    for _ in range(4):
        clock.now += 10
        health.stepped()
    assert state(health) == (True, "waiting for records")


@pytest.fixture
def server(health: Health, exporter: MetricExporter) -> Iterator[str]:
    door = PrometheusDoor(exporter)
    gate = Gate(None, metrics=door, clock=lambda: dt.datetime.now(dt.UTC))
    routes = telemetry_routes(health, exporter.registry)
    served = Door(routes, gate, None, host="127.0.0.1", port=0, metrics=door)
    yield f"http://127.0.0.1:{served.port}"
    served.close()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=300) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_server_answers_metrics_and_health(server: str, clock: Clock) -> None:
    status, text = get(server + "/metrics")
    assert status == 200
    assert 'finance_process_info{process="poster",version="1.2.3"} 1.0' in text
    status, body = get(server + "/healthz")
    assert status == 200
    assert json.loads(body)["ok"] is True
    clock.now += STALL_SECONDS + 1
    status, body = get(server + "/healthz")
    assert status == 503
    assert json.loads(body)["state"] == "stalled"
    assert get(server + "/other")[0] == 404
