"""What moves the metrics: one small class a surface, each the Prometheus side of one protocol.

    PrometheusWork      consumers.metrics.Metrics               what a consumer does; the health learns of it
    PrometheusBackup    finance.recovery.backup.streaming.stream.StreamMetrics   the stream of WAL
    PrometheusDoor      finance.door.problem.DoorMetrics        an HTTP surface
    PrometheusProxy     the signing proxy's `told`

Guarantees: a call never raises and never waits. Surfaces of one process share its MetricExporter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from finance.telemetry.health import Health
from finance.telemetry.prometheus import MetricExporter

CIRCUIT_STATES: Final = ("closed", "half_open", "open")  # the gauge's 0, 1, 2
OBJECTS_PER_EXPORT: Final = 2  # a batch and its manifest


class PrometheusWork:
    """Work done and waiting, what is away, and whether the process gets on."""

    def __init__(
        self,
        exporter: MetricExporter,
        health: Health,
        *,
        now: Callable[[], float] = time.time,  # noqa: TID251  (an argument; this is its default)
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self._health = health
        self._now = now
        self._beat = beat  # called at progress, as the health is
        self._posts = exporter.counter("finance_ledger_posts_total")
        self._post_latency = exporter.histogram("finance_ledger_post_latency_seconds")
        self._duplicates = exporter.counter("finance_duplicates_total")
        self._dead_letters = exporter.counter("finance_dead_letters_total")
        self._no_record = exporter.counter("finance_no_record_offsets_total")
        self._relayed = exporter.counter("finance_relayed_records_total")
        self._proofs = exporter.counter("finance_proofs_total")
        self._proof_duration = exporter.histogram("finance_proof_generation_duration_seconds")
        self._exports = exporter.counter("finance_audit_export_success_total")
        self._archive_objects = exporter.counter("finance_archive_objects_total")
        self._audit_events = exporter.counter("finance_audit_events_total")
        self._refused_intents = exporter.counter("finance_audit_intents_refused_total")
        self._personal = exporter.counter("finance_personal_records_total")
        self._projected = exporter.counter("finance_projected_entries_total")
        self._projection_known = exporter.gauge("finance_projection_known_timestamp_seconds")
        self._projection_stands = exporter.gauge("finance_projection_stands")
        self._lag_records = exporter.gauge("finance_consumer_lag_records")
        self._lag_seconds = exporter.gauge("finance_consumer_lag_seconds")
        self._checkpoint_age = exporter.gauge("finance_checkpoint_age_seconds")
        self._halted = exporter.gauge("finance_halted")
        self._shard_halted = exporter.gauge("finance_shard_halted")
        self._shard_slowed = exporter.gauge("finance_shard_slowed")
        self._rules = exporter.gauge("finance_shard_rules")
        self._rules_unknown = exporter.gauge("finance_shard_rules_unknown")
        self._unavailable = exporter.counter("finance_unavailable_total")
        self._signer_failures = exporter.counter("finance_signer_failures_total")
        self._signer_circuit = exporter.gauge("finance_signer_circuit_state")
        self._last_step = exporter.gauge("finance_last_step_timestamp_seconds")

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

    def no_record(self, shard: int, count: int) -> None:
        self._no_record.labels(shard).inc(count)
        self._health.worked()

    def relayed(self, shard: int, count: int) -> None:
        self._relayed.labels(shard).inc(count)
        self._health.worked()

    def proof(self, seconds: float) -> None:
        self._proofs.inc()
        self._proof_duration.observe(seconds)
        self._health.worked()

    def checkpoint(self, shard: int, age_seconds: float) -> None:
        self._checkpoint_age.labels(shard).set(age_seconds)

    def exported(self) -> None:
        self._exports.inc()
        self._archive_objects.inc(OBJECTS_PER_EXPORT)
        self._health.worked()

    def intents_refused(self, count: int) -> None:
        self._refused_intents.inc(count)

    def audited(self, count: int) -> None:
        self._audit_events.inc(count)
        self._health.worked()

    def personal(self, outcome: str, count: int) -> None:
        self._personal.labels(outcome).inc(count)

    def projected(self, shard: int, count: int) -> None:
        self._projected.labels(shard).inc(count)
        self._health.worked()

    def projection(self, shard: int, known_seconds: float, *, stands: bool) -> None:
        self._projection_known.labels(shard).set(known_seconds)
        self._projection_stands.labels(shard).set(1 if stands else 0)

    def lag(self, shard: int, records: int, seconds: float) -> None:
        self._lag_records.labels(shard).set(records)
        self._lag_seconds.labels(shard).set(seconds)
        self._health.lag(shard, records, seconds)

    def released(self, shard: int) -> None:
        self._lag_records.remove_by_labels({"shard": str(shard)})
        self._lag_seconds.remove_by_labels({"shard": str(shard)})
        self._checkpoint_age.remove_by_labels({"shard": str(shard)})
        self._shard_halted.remove_by_labels({"shard": str(shard)})
        self._shard_slowed.remove_by_labels({"shard": str(shard)})
        self._projection_known.remove_by_labels({"shard": str(shard)})
        self._projection_stands.remove_by_labels({"shard": str(shard)})
        self._rules.remove_by_labels({"shard": str(shard)})
        self._rules_unknown.remove_by_labels({"shard": str(shard)})
        self._health.released(shard)

    def halted(self, halted: bool) -> None:
        self._halted.set(1 if halted else 0)
        self._health.halted(halted)

    def rules(self, shard: int, number: int, *, known: bool) -> None:
        self._rules.labels(shard).set(number)
        self._rules_unknown.labels(shard).set(0 if known else 1)
        self._health.rules(shard, number, known=known)

    def stopped(self, shard: int, *, halted: bool, slowed: bool) -> None:
        self._shard_halted.labels(shard).set(1 if halted else 0)
        self._shard_slowed.labels(shard).set(1 if slowed else 0)

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


class PrometheusBackup:
    """Backups and WAL of this host."""

    def __init__(self, exporter: MetricExporter, health: Health) -> None:
        self._health = health
        self._age = exporter.gauge("finance_backup_age_seconds")
        self._lag_bytes = exporter.gauge("finance_backup_wal_lag_bytes")
        self._lag_seconds = exporter.gauge("finance_backup_wal_lag_seconds")
        self._stored = exporter.counter("finance_backup_wal_stored_bytes_total")
        self._failures = exporter.counter("finance_backup_failures_total")
        self._noted: dict[str, int] = {}

    def backup_age(self, seconds: float) -> None:
        self._age.set(seconds)

    def backup_failed(self, what: str) -> None:
        self._failures.labels(what).inc()

    def backup_failures(self, noted: Mapping[str, int]) -> None:
        """What commands noted so far, by name; reported again and again."""
        for what, count in noted.items():
            self._failures.labels(what).inc(max(0, count - self._noted.get(what, 0)))
            self._noted[what] = count

    def wal_lag(self, lag_bytes: int, lag_seconds: float) -> None:
        self._lag_bytes.set(lag_bytes)
        self._lag_seconds.set(lag_seconds)

    def wal_stored(self, stored_bytes: int) -> None:
        self._stored.inc(stored_bytes)
        self._health.worked()


class PrometheusDoor:
    """Requests answered and turned away, certificates, reloads."""

    def __init__(self, exporter: MetricExporter) -> None:
        self._answers = exporter.counter("finance_door_answers_total")
        self._turned_away = exporter.counter("finance_door_turned_away_total")
        self._certificate_expiry = exporter.gauge("finance_certificate_expiry_timestamp_seconds")
        self._reload_failures = exporter.counter("finance_reload_failures_total")

    def door_answered(self, status: int) -> None:
        self._answers.labels(status).inc()

    def door_turned_away(self, code: str) -> None:
        self._turned_away.labels(code).inc()

    def certificate_expires(self, certificate: str, at: float) -> None:
        self._certificate_expiry.labels(certificate).set(at)

    def reload_failed(self, what: str) -> None:
        self._reload_failures.labels(what).inc()


class PrometheusProxy:
    """Requests to sign or verify."""

    def __init__(self, exporter: MetricExporter) -> None:
        self._requests = exporter.counter("finance_signing_proxy_requests_total")

    def proxy_request(self, verdict: str) -> None:
        self._requests.labels(verdict).inc()
