"""kill -9 of `audit export` and `audit restore` between their commits: run again, they end as if nothing had been."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg
import pytest

from finance.workshop.devstack import Stack
from tests.support import audit, buckets, topics
from tests.support.audit_checks import assert_chain
from tests.support.backups import finance
from tests.support.route import ROOT, with_limit
from tests.support.signing import kms_signer

pytestmark = pytest.mark.services

EVENTS = 1_050  # more than two batches of a restore
EXPORT_EVENTS = 21


def count(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        assert row is not None
        return int(row[0])


def kill_at(environ: dict[str, str], arguments: Sequence[str], done: Callable[[], int], threshold: int) -> None:
    """Run `finance audit ARGUMENTS`, and kill it once so much is done."""
    command = [sys.executable, "-m", "finance", "audit", *arguments]
    running = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while running.poll() is None and done() < threshold:
        continue
    assert running.poll() is None, "it ended before it was killed"
    running.kill()
    running.wait()


def test_killed_between_commits_export_and_restore_lose_and_double_nothing(
    environ: dict[str, str], stack: Stack, other_database: str, tmp_path: Path
) -> None:
    topology = tmp_path / "topology.yaml"
    topology.write_text(with_limit(topics.TOPOLOGY.read_text(), "audit_export_events_max", EXPORT_EVENTS))
    environ["FINANCE_TOPOLOGY"] = str(topology)
    signer, registry = kms_signer(stack.env, "ed25519")
    url = environ["DATABASE_URL"]
    audit.append(url, [audit.intent(number) for number in range(EVENTS)])
    audit.run_until_idle(lambda: audit.build_notary(environ, signer, registry))

    ranges = EVENTS // EXPORT_EVENTS
    for threshold in (1, ranges // 2):
        kill_at(environ, ["export"], lambda: count(url, "audit_exports"), threshold)
    finance(environ, "audit", "export")
    assert count(url, "audit_exports") == count(url, "audit_export_ranges") == ranges
    listed = buckets.s3_client(environ).list_object_versions(Bucket=environ["S3_AUDIT_BUCKET"], Prefix="dev/audit/")
    assert len(listed["Versions"]) == len({item["Key"] for item in listed["Versions"]}) == ranges
    told = finance(environ, "audit", "verify", "--from", "s3", "--against", "topic", "--against", "db")
    assert told["counts"]["events"] == EVENTS

    for source, threshold in (("s3", 1), ("topic", 501)):
        restore = ["restore", "--from", source, "--into", other_database]
        kill_at(environ, restore, lambda: count(other_database, "audit_events"), threshold)
    told = finance(environ, "audit", *restore)
    assert told["restored"] <= EVENTS - 501, "what was committed before a kill stands"
    assert audit.rows_newest_first(other_database) == audit.rows_newest_first(url)
    assert_chain(other_database, registry, range(EVENTS), outbox=1)
