"""A backup that failed is counted where the stream tells it: the command itself is over before anybody could ask it."""

from __future__ import annotations

from pathlib import Path

import pytest

from finance.recovery.backup.failures import FILE, counting_failures, failures
from finance.telemetry.health import Health
from finance.telemetry.prometheus import MetricExporter
from finance.telemetry.surfaces import PrometheusBackup
from ledger_core.errors import Unavailable


def told(exporter: MetricExporter, what: str) -> float | None:
    return exporter.registry.get_sample_value("finance_backup_failures_total", {"what": what})


def test_what_fails_is_counted_and_told_once(tmp_path: Path) -> None:
    exporter = MetricExporter(process="backup", version="1")
    metrics = PrometheusBackup(exporter, Health(process="backup", stall_seconds=1))
    assert told(exporter, "create") == 0
    for _ in range(2):
        with pytest.raises(Unavailable), counting_failures(tmp_path / "spool", "create"):
            raise Unavailable("postgres", "away")
        metrics.backup_failures(failures(tmp_path / "spool"))
        metrics.backup_failures(failures(tmp_path / "spool"))
    with counting_failures(tmp_path / "spool", "create"):
        pass
    metrics.backup_failures(failures(tmp_path / "spool"))
    metrics.backup_failed("sign")
    assert (told(exporter, "create"), told(exporter, "sign"), told(exporter, "prune")) == (2, 1, 0)


def test_a_count_that_is_lost_or_torn_hides_no_failure(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"create":')
    assert failures(tmp_path) == {}
    with pytest.raises(Unavailable), counting_failures(tmp_path, "verify"):
        raise Unavailable("backup_place", "away")
    assert failures(tmp_path) == {"verify": 1}
    (tmp_path / "file").write_text("where a folder should be")
    with pytest.raises(Unavailable), counting_failures(tmp_path / "file", "verify"):
        raise Unavailable("backup_place", "away")
