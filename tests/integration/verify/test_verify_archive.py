"""`finance verify archive` beside the audit topic: a second proof of an announced range, offline, and what waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from consumers.proving.published_guard import NOTHING_PUBLISHED
from finance.wiring import services
from finance.workshop.devstack import Stack
from tests.simulator.faults import Faults
from tests.support import buckets, databases
from tests.support.backups import finance
from tests.support.stepped_ledger import SteppedLedger, injected

LIMITS = {"range_entries_max": 2, "range_idle_seconds": 10**6}
FORGED_LIMITS = {**LIMITS, "range_entries_max": 3}
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[SteppedLedger]:
    """Two ranges of each shard, archived and announced."""
    faults = Faults()
    with injected(faults):
        made = SteppedLedger(environ, tmp_path, faults)
        made.publish(8)
        made.finish(LIMITS)
        yield made


def verify(environ: dict[str, str], *options: str, code: int = 0) -> dict[str, Any]:
    return finance(environ, "verify", "archive", *options, code=code)


def archived(ledger: SteppedLedger, objects: int) -> Callable[[], bool]:
    return lambda: bool(ledger.ask("SELECT count(*) FROM manifests") == objects)


def test_a_second_proof_of_an_announced_range_is_found_where_the_topic_can_be_asked(
    stack: Stack, database_template: str, ledger: SteppedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made with the ledger's own key, in a database and a bucket of their own: sound by itself, to the last byte."""
    topic = ledger.environ["FINANCE_TOPIC_PREFIX"] + "finance.audit"
    told = verify(ledger.environ)
    assert told["announced"] == {"compared_with": topic, "why_not": None, "not_archived_yet": []}
    assert told["counts"]["ranges_as_announced"] == told["counts"]["ranges"] == 4

    other = databases.create_database(stack.env["DATABASE_URL"], database_template)
    roles = {
        name: databases.role_url(other, f"finance_{name.removeprefix('DATABASE_URL_').lower()}")
        for name in ledger.environ
        if name.startswith("DATABASE_URL_")
    }
    mine = {"DATABASE_URL": other, "S3_AUDIT_BUCKET": buckets.create_bucket(stack.env)}
    monkeypatch.setattr(services, "PublishedGuard", lambda *_arguments, **_named: NOTHING_PUBLISHED)
    forged = SteppedLedger({**ledger.environ, **roles, **mine}, ledger.folder, ledger.faults)
    forged.run(("poster", "prover", "archiver"), FORGED_LIMITS, "a second archive", archived(forged, 2))
    databases.drop_database(stack.env["DATABASE_URL"], other)

    alone = verify(forged.environ, "--without-topic")
    assert alone["announced"] == {"compared_with": None, "why_not": "--without-topic", "not_archived_yet": []}
    told = verify(forged.environ, code=1)
    assert told["announced"]["compared_with"] == topic
    assert {(finding["code"], finding["shard"]) for finding in told["findings"]} == {
        ("archive.announced", 0),
        ("archive.announced", 1),
    }


def test_without_kafka_the_archive_is_checked_all_the_same_and_the_answer_says_so(
    ledger: SteppedLedger, tmp_path: Path
) -> None:
    away = {**ledger.environ, "KAFKA_BROKERS": NOWHERE}
    told = verify(away)
    assert told["counts"]["ranges"] == 4
    assert told["announced"]["compared_with"] is None
    assert "kafka" in told["announced"]["why_not"]
    assert verify(away, "--with-topic", code=4)["ok"] is False

    (tmp_path / "bundle").mkdir()
    told = verify(away, "--dir", str(tmp_path / "bundle"), code=1)  # empty
    assert "a directory is read without a network" in told["announced"]["why_not"]
    told = verify(away, "--env", "production", code=1)
    assert "the brokers are those of dev" in told["announced"]["why_not"]
    assert verify(away, "--env", "production", "--with-topic", code=3)["ok"] is False


def test_what_is_announced_and_not_archived_yet_is_named(ledger: SteppedLedger) -> None:
    ledger.publish(4)
    announced = "SELECT count(*) = 6 FROM proofs"
    ledger.run(("poster", "prover", "notary"), LIMITS, "two more proofs", lambda: bool(ledger.ask(announced)))
    assert verify(ledger.environ)["announced"]["not_archived_yet"] == [
        {"shard": shard, "first_range_no": "3", "last_range_no": "3"} for shard in (0, 1)
    ]
