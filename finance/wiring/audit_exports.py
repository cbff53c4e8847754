"""The exporter of the audit chain, put together: for the archiver, and for `finance audit export`.

Guarantees: both export the same ranges under the same names. Does not: open the connection or the archive.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from consumers.archive.lock_terms import LockTerms
from consumers.audit.exporter import AuditExporter, ExportSettings
from consumers.metrics import Metrics
from finance.settings import clock
from finance.settings.deployment import Settings
from ledger_core.ports import ArchiveStore
from ledger_core.postgres.archive.archiver_store import PostgresArchiveStore
from ledger_core.postgres.audit.export_store import PostgresAuditExportStore
from ledger_core.signing.registry import SignerRegistry
from schemas.topology.model import Topology


def lock_terms(connection: psycopg.Connection[Any], topology: Topology) -> LockTerms:
    """Until when the archiver, and `finance audit export`, lock what they store."""
    retention_days = topology.stores["archive"].retention_days
    return LockTerms(PostgresArchiveStore(connection), retention_days, clock=clock.utc_now)


def audit_exporter(
    settings: Settings,
    topology: Topology,
    connection: psycopg.Connection[Any],
    archive: ArchiveStore,
    registry: SignerRegistry,
    metrics: Metrics,
    *,
    idle_seconds: float | None = None,
) -> AuditExporter:
    """`idle_seconds` None: as the topology says; 0: whatever is published leaves now."""
    limits = topology.limits
    return AuditExporter(
        PostgresAuditExportStore(connection),
        archive,
        registry,
        ExportSettings(
            settings.env,
            limits.audit_export_events_max,
            limits.audit_export_idle_seconds if idle_seconds is None else idle_seconds,
        ),
        lock_terms(connection, topology),
        monotonic=time.monotonic,
        new_trace_id=clock.new_trace_id,
        metrics=metrics,
    )
