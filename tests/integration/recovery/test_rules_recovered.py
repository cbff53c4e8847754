"""Rules that changed, brought back: from the archive alone, and by a poster on a database that was put back."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import pytest

from consumers.metrics import NullMetrics
from finance.settings.deployment import Settings
from finance.wiring.services import build_service
from finance.workshop.devstack import Stack
from ledger_core.postgres.verify.ledger_reader import open_ledger_reader
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.oracle import verify_archive, verify_ledger
from schemas.topology.load import load_topology
from tests.integration.posting.test_rules_change import in_force, judge_of, mixed_topic, reasons
from tests.support import databases
from tests.support.control_records import KEY
from tests.support.pipeline import Pipeline, step_until
from tests.support.posting_runs import is_done, post_all, rows, tables
from tests.support.rebuilds import rows as rebuilt_rows
from tests.support.rebuilds import run
from tests.support.replay_runs import empty_database, replay
from tests.support.topics import TOPOLOGY
from tests.support.waits import until

pytestmark = pytest.mark.services


@pytest.fixture
def environ(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """With a signers.json of the test's own."""
    (tmp_path / "signers.json").write_bytes(KEY.registry.to_json())
    return environ | {"FINANCE_SIGNERS": str(tmp_path / "signers.json")}


def test_a_ledger_from_its_archive_alone_has_the_rules_in_force(environ: dict[str, str], stack: Stack) -> None:
    dsn = environ["DATABASE_URL"]
    mixed_topic(environ)
    post_all(environ, judge=judge_of(environ))
    pipeline = Pipeline(environ)
    prover, archiver = pipeline.prover(), pipeline.archiver()
    ends = dict(rows(dsn, "SELECT shard, next_offset FROM shards"))
    listed = (
        "SELECT r.shard, max(r.next_offset) FROM ranges r JOIN manifests m ON (m.shard, m.manifest_no) = "
        "(r.shard, r.range_no) GROUP BY 1"
    )
    step_until(prover, lambda: rows(dsn, "SELECT count(*) FROM proofs")[0][0] >= 2)
    step_until(archiver, lambda: dict(rows(dsn, listed)) == ends)
    prover.close()
    archiver.close()
    registry = SignerRegistry([*pipeline.registry.signers, *KEY.registry.signers])
    Path(environ["FINANCE_SIGNERS"]).write_bytes(registry.to_json())
    report = verify_archive(pipeline.archive(), "test", registry)
    assert report.sound, report.findings

    target = empty_database(stack.env["DATABASE_URL"], f"rebuilt_{abs(hash(dsn)):x}")
    try:
        address = f"s3://{environ['S3_AUDIT_BUCKET']}"
        assert run(target, registry, address, environ=environ, topology=load_topology(TOPOLOGY)).sound
        assert in_force(target) == {0: 2, 1: 1}
        assert reasons(target) == reasons(dsn)
        assert rebuilt_rows(target)["entries"] == rebuilt_rows(dsn)["entries"]
        with open_ledger_reader(target) as reader:
            found = verify_ledger(reader, registry)
        assert found.sound, found.findings
    finally:
        databases.drop_database(stack.env["DATABASE_URL"], target)


def test_a_poster_on_a_database_put_back_before_the_activation_comes_to_the_same_rules(
    environ: dict[str, str], other_database: str
) -> None:
    """Even if the key was revoked meanwhile, for a time before the record: what was reported binds."""
    mixed_topic(environ)
    post_all(environ, judge=judge_of(environ))
    (signer,) = KEY.registry.signers
    long_ago = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    ended = SignerRegistry([dataclasses.replace(signer, retired_at=long_ago, revoked_at=long_ago)])
    Path(environ["FINANCE_SIGNERS"]).write_bytes(ended.to_json())
    put_back = environ | {
        name: other_database for name in environ if name.startswith("DATABASE_URL") and name != "DATABASE_URL_ADMIN"
    }
    topology = load_topology(TOPOLOGY, topic_prefix=environ["FINANCE_TOPIC_PREFIX"])
    poster = build_service("poster", Settings.from_env(put_back, Path.cwd()), topology, NullMetrics())
    try:
        until("it is posted again", lambda: is_done(environ, other_database), between=poster.step)
    finally:
        poster.close()
    assert tables(other_database) == tables(environ["DATABASE_URL"])
    assert replay(environ)["ok"]
