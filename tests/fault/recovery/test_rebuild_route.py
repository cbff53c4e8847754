"""The real route, the database lost, the ledger rebuilt from S3 and signers.json: the same rows, and it carries on.

The rebuild is killed at random moments; how often is `REBUILD_KILLS` (12 without it).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from finance.wiring.registry_file import read_registry
from finance.workshop.devstack import Stack
from producers.storage.archive_file import FileArchiveStore
from tests.support import buckets, databases, personal, topics
from tests.support.mixed_events import mixed
from tests.support.posting_runs import publish
from tests.support.rebuilds import check, rows
from tests.support.route import PROCESSES, ROOT, Ledger
from tests.support.settlements import record, settlement
from tests.support.waits import until

pytestmark = pytest.mark.services

KILLS = int(os.environ.get("REBUILD_KILLS", "12"))
EVENTS = 3_000
WITH_PII = 40
LIMITS = {"range_entries_max": 100, "range_idle_seconds": 1, "retry_delay_ms_max": 1000}


@dataclass
class Lost:
    """A ledger that went the whole route, and whose processes are gone."""

    server: str
    environ: dict[str, str]
    folder: Path
    made: list[str]

    def database(self) -> str:
        """A database without a table."""
        name = f"test_{uuid.uuid4().hex[:16]}"
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        self.made.append(databases.database_at(self.server, name))
        return self.made[-1]

    def arguments(self, dsn: str, *more: str, source: str | None = None) -> list[str]:
        source = source or f"s3://{self.environ['S3_AUDIT_BUCKET']}"
        return [sys.executable, "-m", "finance", "rebuild", "--from", source, "--into", dsn, "--json", *more]

    def rebuild(self, dsn: str, *more: str, code: int = 0, source: str | None = None) -> dict[str, Any]:
        done = subprocess.run(
            self.arguments(dsn, *more, source=source),
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def on(self, dsn: str, **changes: str) -> dict[str, str]:
        """The environment of processes on another database, in consumer groups of their own."""
        roles = {
            name: databases.role_url(dsn, f"finance_{name.removeprefix('DATABASE_URL_').lower()}")
            for name in self.environ
            if name.startswith("DATABASE_URL_")
        }
        return {**self.environ, **roles, "DATABASE_URL": dsn, **changes}


@pytest.fixture(scope="module")
def lost(stack: Stack, database_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    server, folder = stack.env["DATABASE_URL"], tmp_path_factory.mktemp("route")
    live = databases.create_database(server, database_template)
    prefix = f"t{uuid.uuid4().hex[:8]}."
    created = topics.create_topics(stack.env["KAFKA_BROKERS"], prefix)
    made = Lost(server, {**_inherited(), **stack.env}, folder, [live])
    made.environ = {
        **made.on(live),
        "FINANCE_TOPIC_PREFIX": prefix,
        "FINANCE_TOPOLOGY": str(topics.TOPOLOGY),
        "S3_AUDIT_BUCKET": buckets.create_bucket(stack.env),
    }
    publish(made.environ, mixed(EVENTS, 7))
    with_pii = [settlement(10**8 + n, pii_digest=personal.digest(10**8 + n).hex()) for n in range(WITH_PII)]
    publish(made.environ, (record(0, fields, shard=n % 2) for n, fields in enumerate(with_pii)))
    personal.say(made.environ, *(personal.record(10**8 + n) for n in range(WITH_PII)))
    run_route(made.environ, folder)
    yield made
    for dsn in made.made:
        databases.drop_database(server, dsn)
    topics.delete_topics(stack.env["KAFKA_BROKERS"], created)


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("FINANCE_", "DATABASE_URL"))}


def run_route(environ: Mapping[str, str], folder: Path, kinds: tuple[str, ...] = ()) -> None:
    """All processes (or some kinds first) until everything published is on its way's end, then killed."""
    ledger = Ledger(dict(environ), folder, LIMITS)
    try:
        group = uuid.uuid4().hex[:8]
        for name in kinds or PROCESSES:
            ledger.start(name, group=f"g{group}-{name}")
        ledger.wait_finished()
    finally:
        ledger.end()


def registry_of(lost: Lost) -> Any:
    return read_registry(Path(lost.environ["FINANCE_SIGNERS"]))


def test_a_lost_ledger_comes_back_row_by_row(lost: Lost) -> None:
    dsn = lost.database()
    told = lost.rebuild(dsn, "--fill-from-topic")
    assert told["migrated"]
    assert rows(dsn) == rows(lost.made[0])
    with psycopg.connect(dsn) as back:
        assert back.execute("SELECT env FROM deployment").fetchone() == ("dev",), "or no process would take it"
    with psycopg.connect(lost.made[0]) as live, psycopg.connect(dsn) as back:
        for query in (
            "SELECT * FROM dead_letters ORDER BY 1, 2",
            "SELECT shard, relayed_offset FROM shards ORDER BY 1",
            "SELECT shard, range_no, journal_offset FROM ranges ORDER BY 1, 2",
            "SELECT shard, range_no, journal_offset FROM archive_objects ORDER BY 1, 2",
        ):
            assert back.execute(query).fetchall() == live.execute(query).fetchall(), query
    assert told["not_held"]["dead_letter_originals"] == 0
    assert told["not_held"]["pii"] == WITH_PII
    environ = lost.on(dsn)
    personal.keep_until(environ, lambda: personal.kept(dsn) == personal.kept(lost.made[0]))
    assert len(personal.kept(dsn)) == WITH_PII, "the keeper reads the side topic anew"
    report = check(dsn, registry_of(lost))
    assert report.counts["entries"] == told["entries_written"]
    assert report.counts["verdict_details_not_held"] == told["not_held"]["verdict_details"] > 0


def test_kills_at_random_moments_and_again_end_the_same(lost: Lost) -> None:
    dice, wanted = random.Random(5), rows(lost.made[0])
    dsn, killed, ended = lost.database(), 0, 0
    began = time.monotonic()
    lost.rebuild(lost.database())
    whole_seconds = time.monotonic() - began
    while killed < KILLS:
        process = subprocess.Popen(
            lost.arguments(dsn),
            cwd=ROOT,
            env=lost.environ,
            stdout=(told := (lost.folder / "told").open("w+b")),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(dice.uniform(0.3, 1.0) * whole_seconds)
        except subprocess.TimeoutExpired:
            killed += 1
            if dice.random() < 0.5:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()  # the workers find their parent gone
            process.wait()
            continue
        told.seek(0)
        assert process.returncode == 0, told.read().decode()
        ended += 1
        assert rows(dsn) == wanted
        dsn = lost.database()
    lost.rebuild(dsn)
    assert rows(dsn) == wanted
    check(dsn, registry_of(lost))


def test_a_rebuilt_ledger_carries_on(lost: Lost) -> None:
    """Poster, prover, archiver and the manifest chain go on; the journal holds each entry once, and no gap."""
    dsn = lost.database()
    lost.rebuild(dsn)
    environ = lost.on(dsn)
    before = rows(dsn)
    publish(environ, mixed(200, 8, first=EVENTS))
    carry_on(environ, lost.folder)
    after = rows(dsn)
    for table in ("entries", "verdicts", "ranges", "proofs", "manifests"):
        assert after[table] != before[table]
        assert set(before[table]) <= set(after[table])
    report = check(dsn, registry_of(lost))
    assert report.counts["entries"] == len(after["entries"])
    done = Ledger(environ, lost.folder).command("verify", "archive", "--with-database", "--json")
    assert done.returncode == 0, done.stdout
    again = lost.rebuild(dsn)
    assert [item["ranges_written"] for item in again["shards"]] == [0, 0]


def carry_on(environ: Mapping[str, str], folder: Path) -> None:
    ledger = Ledger(dict(environ), folder, LIMITS)
    restored = ledger.command("audit", "restore", "--from", "topic", "--json")  # what is new is announced behind it
    assert restored.returncode == 0, restored.stdout
    try:
        group = uuid.uuid4().hex[:8]
        for name in ("notary", "prover", "archiver", "poster"):  # prover and archiver wait for the poster to catch up
            ledger.start(name, group=f"g{group}-{name}")
        ends = (
            "SELECT count(*) FROM shards s JOIN LATERAL (SELECT max(next_offset) AS proved FROM ranges r JOIN "
            "manifests m ON m.shard = r.shard AND m.manifest_no = r.range_no WHERE r.shard = s.shard) p ON true "
            "WHERE s.next_offset = p.proved AND s.relayed_offset = s.next_offset AND s.next_offset >= %d"
        )
        wanted = (EVENTS + WITH_PII + 200) // 2
        until(
            "both shards are proved and archived to their ends",
            lambda: ledger.ask(ends % wanted)[0] == 2,
            told=lambda: "\n".join(f"--- {p.name}\n{p.tail(5)}" for p in ledger.started),
        )
    finally:
        ledger.end()


def test_a_folder_with_a_copy_heals_what_s3_shows_no_more(lost: Lost, tmp_path: Path) -> None:
    """A plain DELETE by an administrator puts a marker on a locked object: named, and healed from a copy."""
    client, bucket = buckets.s3_client(lost.environ), lost.environ["S3_AUDIT_BUCKET"]
    from finance.settings.deployment import Settings
    from finance.wiring.services import open_archive

    store = open_archive(Settings.from_env(lost.environ, ROOT))
    copy = FileArchiveStore(tmp_path / "copy")
    for stored in store.versions(f"{lost.environ.get('FINANCE_ENV', 'dev')}/"):
        if stored.size_bytes >= 0:
            copy.add_copy(stored, store.get(stored.key, stored.version_id))
    key = sorted(name for name in _keys(client, bucket) if "/batches/shard-00001/" in name)[1]
    marker = client.delete_object(Bucket=bucket, Key=key)["VersionId"]
    try:
        dsn = lost.database()
        told = lost.rebuild(dsn, code=1)
        findings = [finding for item in told["shards"] for finding in item["findings"]]
        assert {(finding["code"], finding["place"]) for finding in findings} == {("archive.delete_marker", key)}
        healed = lost.rebuild(dsn, "--also", str(tmp_path / "copy"))
        assert [item["healed"] for item in healed["shards"]] == [[], [key]]
    finally:
        client.delete_object(Bucket=bucket, Key=key, VersionId=marker)
    check(dsn, registry_of(lost))


def test_with_the_whole_bucket_lost_a_copy_below_a_prefix_gives_the_ledger(lost: Lost) -> None:
    client, bucket, copies = (
        buckets.s3_client(lost.environ),
        lost.environ["S3_AUDIT_BUCKET"],
        buckets.create_bucket(lost.environ),
    )
    for key in _keys(client, bucket):
        client.copy_object(Bucket=copies, Key=f"copies/2026-11/{key}", CopySource={"Bucket": bucket, "Key": key})
    dsn = lost.database()
    told = lost.rebuild(dsn, source=f"s3://{copies}/copies/2026-11/")
    assert [item["healed"] for item in told["shards"]] == [[], []]
    original = lost.database()
    lost.rebuild(original)
    made, wanted = rows(dsn), rows(original)
    for found in (made, wanted):  # a manifest does not tell its own version id, and in the copy it has another one
        found["manifests"] = [row[:-1] for row in found["manifests"]]
    assert made == wanted
    assert lost.rebuild(lost.database(), source=f"s3://{copies}/elsewhere", code=3)["error"]["remedy"]


def _keys(client: Any, bucket: str) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


def test_without_its_journal_everything_is_published_again(lost: Lost, stack: Stack) -> None:
    """Database, journal, outcomes and dead letters lost: the poster publishes all of it, prover and archiver go on."""
    dsn = lost.database()
    prefix = lost.environ["FINANCE_TOPIC_PREFIX"]
    gone = [prefix + name for name in ("finance.journal", "finance.outcomes", "finance.settlements.dlq")]
    topics.delete_topics(stack.env["KAFKA_BROKERS"], gone)
    lost.rebuild(dsn)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT sum(relayed_offset - first_offset) FROM shards").fetchone() == (0,)
        assert connection.execute("SELECT max(journal_offset) FROM ranges").fetchone() == (0,)
    Ledger(lost.environ, lost.folder).command("topics", "apply")
    environ = lost.on(dsn)
    carry_on(environ, lost.folder)
    check(dsn, registry_of(lost))
    from tests.support.posting_runs import check_journal

    check_journal(environ, dsn)
