"""Every metric this service exports, once: name, kind, labels, meaning, buckets, values known from the start.

Guarantees: nothing else is exported (`finance.telemetry.prometheus` makes what stands here, and a surface asks for it
by name), and docs/METRICS.md is this list, in this order (tested). Names are published text: dashboards and alerts
depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ledger_core.errors import RejectReason, SignerFailure

Kind = Literal["counter", "gauge", "histogram"]

# Posting: from a commit of its own (milliseconds) to a broker or database that was away (a minute).
LATENCY_BUCKETS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
# Proving: the objective is p95 under 5 s.
PROOF_BUCKETS_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as scraped."""

    name: str  # published text, as dashboards use it
    kind: Kind  # of Prometheus
    meaning: str  # one line for the table in docs/METRICS.md
    told_by: str  # the processes that move it
    labels: tuple[str, ...] = ()  # their names
    buckets: tuple[float, ...] = ()  # upper bounds, inclusive; of a histogram
    known: tuple[str, ...] = ()  # values of the one label that stand at 0 from the start: a rate needs the zero


METRICS: Final[tuple[Metric, ...]] = (
    Metric("finance_ledger_posts_total", "counter", "Journal entries committed", "poster", ("shard",)),
    Metric(
        "finance_ledger_post_latency_seconds",
        "histogram",
        "From the broker's append time to the commit; every entry counts with the latency of its batch's oldest",
        "poster",
        buckets=LATENCY_BUCKETS_SECONDS,
    ),
    Metric(
        "finance_duplicates_total",
        "counter",
        "Events that had been posted before with the same content",
        "poster",
        ("shard",),
    ),
    Metric(
        "finance_dead_letters_total",
        "counter",
        "Records rejected, by reason; `conflict` deserves an alert",
        "poster",
        ("reason",),
        known=tuple(reason.value for reason in RejectReason if reason is not RejectReason.NO_RECORD),
    ),
    Metric(
        "finance_no_record_offsets_total",
        "counter",
        "Offsets without a record: aborted transactions and their markers, each confirmed in the partition's log",
        "poster",
        ("shard",),
    ),
    Metric(
        "finance_relayed_records_total",
        "counter",
        "Records published to journal, outcomes and dead letters",
        "poster",
        ("shard",),
    ),
    Metric("finance_proofs_total", "counter", "Range proofs signed, verified and stored", "prover"),
    Metric(
        "finance_proof_generation_duration_seconds",
        "histogram",
        "From the closing of a range to its signed proof",
        "prover",
        buckets=PROOF_BUCKETS_SECONDS,
    ),
    Metric(
        "finance_audit_export_success_total",
        "counter",
        "Audit batches locked, read back and listed in a manifest",
        "archiver",
    ),
    Metric(
        "finance_archive_objects_total",
        "counter",
        "Objects stored under lock: a batch and its manifest each",
        "archiver",
    ),
    Metric("finance_audit_events_total", "counter", "Audit events that joined the signed chain", "notary"),
    Metric(
        "finance_audit_intents_refused_total",
        "counter",
        "Intents of the outbox that cannot be chained, and were kept apart",
        "notary",
    ),
    Metric(
        "finance_personal_records_total",
        "counter",
        "Personal data received, kept with their entry, forgotten; or refused, by reason",
        "keeper",
        ("outcome",),
        known=("received", "kept", "forgotten"),
    ),
    Metric(
        "finance_projected_entries_total",
        "counter",
        "Journal entries that became rows of the read side's projection",
        "projector",
        ("shard",),
    ),
    Metric(
        "finance_projection_known_timestamp_seconds",
        "gauge",
        "Up to when the projection answers questions as known at a time",
        "projector",
        ("shard",),
    ),
    Metric(
        "finance_projection_stands",
        "gauge",
        "1 while the journal of this shard is refused, so that the projection of it stands",
        "projector",
        ("shard",),
    ),
    Metric(
        "finance_consumer_lag_records",
        "gauge",
        "What waits in front of the process, in records",
        "every process",
        ("shard",),
    ),
    Metric(
        "finance_consumer_lag_seconds",
        "gauge",
        "Age of the oldest that waits; 0 when nothing does",
        "every process",
        ("shard",),
    ),
    Metric(
        "finance_checkpoint_age_seconds",
        "gauge",
        "How long something of the shard has waited for a live checkpoint; 0 when nothing does",
        "prover",
        ("shard",),
    ),
    Metric("finance_halted", "gauge", "1 while the process sees the halt flag", "poster"),
    Metric("finance_shard_halted", "gauge", "1 while this shard alone is halted", "poster", ("shard",)),
    Metric(
        "finance_shard_slowed",
        "gauge",
        "1 while this shard posts slowly, because its dead-letter limit is near",
        "poster",
        ("shard",),
    ),
    Metric("finance_shard_rules", "gauge", "Posting rules in force at the shard's head", "poster", ("shard",)),
    Metric(
        "finance_shard_rules_unknown",
        "gauge",
        "1 while this shard waits, because rules are in force there that this version of finance does not know",
        "poster",
        ("shard",),
    ),
    Metric(
        "finance_unavailable_total",
        "counter",
        "Tries that failed because something did not answer",
        "every process",
        ("what",),
        known=("kafka", "postgres", "s3", "signer"),
    ),
    Metric(
        "finance_signer_failures_total",
        "counter",
        "Signatures not made, or not verified, by reason: nothing left unsigned",
        "prover, archiver, notary",
        ("reason",),
        known=tuple(failure.value for failure in SignerFailure),
    ),
    Metric(
        "finance_signer_circuit_state",
        "gauge",
        "Whether a signer is asked: 0 closed (yes), 1 half-open (one probe), 2 open (not before its wait is over)",
        "prover, archiver, notary",
        ("signer_kid",),
    ),
    Metric(
        "finance_last_step_timestamp_seconds",
        "gauge",
        "Unix time at which the last step ended without failure",
        "every process",
    ),
    Metric(
        "finance_process_info",
        "gauge",
        "Always 1: which process of which version answers",
        "every process",
        ("process", "version"),
    ),
    Metric("finance_backup_age_seconds", "gauge", "Age of the newest base backup", "backup stream"),
    Metric(
        "finance_backup_wal_lag_bytes", "gauge", "WAL that the server has and the backup place has not", "backup stream"
    ),
    Metric("finance_backup_wal_lag_seconds", "gauge", "How long the place has been behind the server", "backup stream"),
    Metric("finance_backup_wal_stored_bytes_total", "counter", "WAL stored, compressed and encrypted", "backup stream"),
    Metric(
        "finance_backup_failures_total",
        "counter",
        "What failed on this host: `create`, `prune`, `verify` (findings too); tries to `stream`, "
        "and to `sign` for WAL",
        "backup stream",
        ("what",),
        known=("create", "prune", "sign", "stream", "verify"),
    ),
    Metric("finance_door_answers_total", "counter", "HTTP requests answered, by status", "every process", ("status",)),
    Metric(
        "finance_door_turned_away_total",
        "counter",
        "Connections and requests refused before they reached what they asked for, by code",
        "every process",
        ("code",),
    ),
    Metric(
        "finance_certificate_expiry_timestamp_seconds",
        "gauge",
        "Unix time at which a certificate in use ends (`client`, `kafka`, `postgres`, `_ca` its authority; `door`), "
        "or a revocation list is too old (`door_crl`)",
        "every process",
        ("certificate",),
    ),
    Metric(
        "finance_reload_failures_total",
        "counter",
        "Changed certificates or callers that could not be taken up; the last good ones stand",
        "every process",
        ("what",),
    ),
    Metric(
        "finance_signing_proxy_requests_total",
        "counter",
        "Requests to sign or verify, by what became of them, as its log records them",
        "signing-proxy",
        ("verdict",),
    ),
)
