"""Prover and archiver on Postgres, Kafka and S3 with Object Lock: the archive, read back as a stranger would."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import psycopg
import pytest
from botocore.exceptions import ClientError

from consumers.archive.archiver import ArchiverSettings
from ledger_core.archive.names import batch_key
from ledger_core.errors import Refused, Unavailable
from ledger_core.ports import ArchiveStore, StoredObject
from ledger_core.postgres.archive.archiver_store import PostgresArchiveStore
from ledger_core.postgres.archive.lock_decisions import decide
from ledger_core.postgres.proving.prover_store import PostgresProverStore
from ledger_core.proving.range_proof import parse_payload
from ledger_core.verify.oracle import verify_archive
from tests.support import databases, rebuilds
from tests.support.archive_checks import check_archive
from tests.support.buckets import s3_client
from tests.support.journal_factory import TinyShard
from tests.support.journal_writer import publish, write
from tests.support.pipeline import Pipeline, step_until


@pytest.fixture
def pipeline(environ: dict[str, str]) -> Pipeline:
    return Pipeline(environ)


def rows(url: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query, values).fetchall()


def prove(pipeline: Pipeline, url: str, *shards: TinyShard, first_seq: int = 1) -> None:
    for shard in shards:
        write(url, shard)
        publish(pipeline.brokers, pipeline.topic, shard, first_seq)
    query = "SELECT max(next_offset) FROM ranges JOIN proofs USING (shard, range_no) WHERE shard = %s"
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: all(rows(url, query, it.shard)[0][0] == it.next_offset for it in shards))


def listed_offset(url: str, shard: int) -> int:
    query = """SELECT max(r.next_offset) FROM ranges r
                 JOIN manifests m ON m.shard = r.shard AND m.manifest_no = r.range_no WHERE r.shard = %s"""
    return rows(url, query, shard)[0][0] or 0


def check_all(pipeline: Pipeline, url: str, *shards: TinyShard) -> None:
    store = pipeline.archive()
    report = verify_archive(store, "test", pipeline.registry)
    assert report.findings == ()
    assert report.counts["entries"] == sum(len(shard.entries) for shard in shards)
    held = {(stored.key, stored.version_id): stored for stored in store.versions("test/")}
    assert len(held) == len({key for key, _ in held})  # one version of each, and no delete marker

    def fetch(key: str, version_id: str) -> tuple[StoredObject, bytes]:
        return held[key, version_id], store.get(key, version_id)

    for shard in shards:
        manifests = rows(
            url,
            "SELECT manifest, object_key, version_id FROM manifests WHERE shard = %s ORDER BY manifest_no",
            shard.shard,
        )
        check_archive(shard, [data for data, _, _ in manifests], fetch, pipeline.registry)
        for data, key, version_id in manifests:
            assert store.get(key, version_id) == data
            assert held[key, version_id].mode == "COMPLIANCE"
        exported = rows(url, "SELECT payload->>'object_key' FROM audit_outbox WHERE event_type LIKE 'audit_export%%'")
        objects = rows(url, "SELECT object_key FROM archive_objects")
        assert sorted(exported) == sorted(objects)


def archived_whole(url: str, shard: TinyShard) -> bool:
    return listed_offset(url, 0) == shard.next_offset


def test_everything_proved_is_archived_under_lock_and_listed(pipeline: Pipeline, database_url: str) -> None:
    shards = [TinyShard(shard=0).post(23).silence(4), TinyShard(shard=1).silence(17).post(3)]
    prove(pipeline, database_url, *shards)
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: all(listed_offset(database_url, it.shard) == it.next_offset for it in shards))
    check_all(pipeline, database_url, *shards)
    assert pipeline.metrics.exports == rows(database_url, "SELECT count(*) FROM manifests")[0][0]


def test_archiver_follows_the_prover_and_a_restart_goes_on(pipeline: Pipeline, database_url: str) -> None:
    shard = TinyShard().post(12)
    prove(pipeline, database_url, shard)
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: listed_offset(database_url, 0) == 12)
        shard.post(11)
        prove(pipeline, database_url, shard, first_seq=13)
        step_until(archiver, lambda: listed_offset(database_url, 0) == 23)
    shard.post(3).silence(1)
    prove(pipeline, database_url, shard, first_seq=22)
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: listed_offset(database_url, 0) == 27)
    check_all(pipeline, database_url, shard)


LATER = dt.datetime(2199, 1, 1, tzinfo=dt.UTC)


class Later(PostgresProverStore):
    """The database's clock as wrong as the prover's."""

    def now(self) -> dt.datetime:
        return LATER


def test_a_range_of_a_wrong_clock_is_locked_by_a_decision(
    pipeline: Pipeline, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = [TinyShard(shard=number).post(10) for number in (0, 1)]
    prove(pipeline, database_url, shards[0])
    write(database_url, shards[1])
    publish(pipeline.brokers, pipeline.topic, shards[1], 1)
    with contextlib.closing(pipeline.prover(Later, lambda: LATER)) as prover:
        step_until(prover, lambda: rows(database_url, "SELECT count(*) FROM proofs")[0][0] == 2)
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(
            archiver, lambda: listed_offset(database_url, 0) == 10 and "archive.waits" in "".join(capsys.readouterr())
        )
    assert [it.key for it in pipeline.archive().versions("test/batches/")] == archived_keys(database_url)

    ((payload,),) = rows(database_url, "SELECT payload FROM ranges WHERE shard = 1")
    key = batch_key("test", parse_payload(payload).shards[0])
    before = dt.datetime.now(dt.UTC)
    by = {"dsn": pipeline.environ["DATABASE_URL_API"], "actor_id": "operator:ada", "trace_id": "ab" * 16}
    assert decide(object_key=key, reason="the clock was in 2199", **by) is not None
    assert decide(object_key=key, reason="again", **by) is None
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: listed_offset(database_url, 1) == 10)
    check_all(pipeline, database_url, *shards)
    ((retain_until,),) = rows(database_url, "SELECT retain_until FROM archive_objects WHERE object_key = %s", key)
    kept = retain_until - dt.timedelta(days=pipeline.retention_days) - before
    assert dt.timedelta(0) <= kept < dt.timedelta(hours=1)
    decided = "SELECT payload->>'object_key' FROM audit_outbox WHERE event_type = 'archive.lock_decided'"
    assert rows(database_url, decided) == [(key,)]
    with pytest.raises(Refused, match="its lock stands"):
        decide(object_key=key, reason="too late", **by)


def archived_keys(url: str) -> list[str]:
    return [key for (key,) in rows(url, "SELECT object_key FROM archive_objects ORDER BY object_key")]


class DiesBefore(PostgresArchiveStore):
    """A store whose process dies just before one kind of row is written: after the PUT."""

    table = ""

    def record_object(self, *args: Any) -> bool:
        if self.table == "archive_objects":
            raise Unavailable("postgres", "as planned")
        return super().record_object(*args)

    def record_manifest(self, *args: Any) -> bool:
        if self.table == "manifests":
            raise Unavailable("postgres", "as planned")
        return super().record_manifest(*args)


@pytest.mark.parametrize("table", ["archive_objects", "manifests"])
def test_what_was_stored_and_not_recorded_is_found_and_taken_for_ours(
    pipeline: Pipeline, database_url: str, table: str
) -> None:
    shard = TinyShard().post(10)
    prove(pipeline, database_url, shard)
    DiesBefore.table = table
    with (
        contextlib.closing(pipeline.archiver(DiesBefore)) as archiver,
        pytest.raises(Unavailable, match="as planned"),
    ):
        step_until(archiver, lambda: False)
    assert rows(database_url, f"SELECT count(*) FROM {table}") == [(0,)]
    assert len(pipeline.archive().versions("test/")) == (1 if table == "archive_objects" else 2)
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: listed_offset(database_url, 0) == 10)
    check_all(pipeline, database_url, shard)


def test_a_bucket_without_object_lock_is_refused_with_the_remedy(pipeline: Pipeline) -> None:
    name = pipeline.environ["S3_AUDIT_BUCKET"] + "-plain"
    s3_client(pipeline.environ).create_bucket(Bucket=name)
    pipeline.environ = pipeline.environ | {"S3_AUDIT_BUCKET": name}
    with pytest.raises(Refused, match=r"no Object Lock.*Remedy: create a bucket with Object Lock"):
        pipeline.archiver()


class Moving:
    """An archive that may be found elsewhere from some moment on."""

    def __init__(self, archive: ArchiveStore) -> None:
        self.archive = archive

    def __getattr__(self, name: str) -> Any:
        return getattr(self.archive, name)


def test_s3_that_is_away_is_unavailable_and_nothing_is_lost(pipeline: Pipeline, database_url: str) -> None:
    shard = TinyShard().post(10)
    prove(pipeline, database_url, shard)
    moving = Moving(pipeline.archive())
    archiver = pipeline.archiver(archive=cast("ArchiveStore", moving))
    elsewhere = pipeline.environ | {"S3_AUDIT_ENDPOINT": "http://127.0.0.1:9"}  # where nobody listens
    moving.archive = Pipeline(elsewhere).archive()
    with contextlib.closing(archiver), pytest.raises(Unavailable, match="s3"):
        step_until(archiver, lambda: False)
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: listed_offset(database_url, 0) == 10)
    check_all(pipeline, database_url, shard)


def test_a_locked_object_of_the_archive_cannot_be_deleted(pipeline: Pipeline, database_url: str) -> None:
    shard = TinyShard().post(10)
    prove(pipeline, database_url, shard)
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: listed_offset(database_url, 0) == 10)
    s3 = s3_client(pipeline.environ)
    for stored in pipeline.archive().versions("test/"):
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket=pipeline.environ["S3_AUDIT_BUCKET"], Key=stored.key, VersionId=stored.version_id)
    check_all(pipeline, database_url, shard)


CLOSED = (
    "shard, range_no, first_seq, last_seq, first_offset, next_offset, payload, hash, checkpoint_text, tree, "
    "verdict_tree, head_hash"
)


@pytest.fixture
def another_database(environ: dict[str, str], database_template: str) -> Iterator[Callable[[], dict[str, str]]]:
    """Makes the same ledger's settings on another database, in which nothing is."""
    made: list[str] = []

    def make() -> dict[str, str]:
        made.append(databases.create_database(environ["DATABASE_URL"], database_template))
        roles = [name for name in environ if name.startswith("DATABASE_URL_")]
        urls = {
            name: databases.role_url(made[-1], f"finance_{name.removeprefix('DATABASE_URL_').lower()}")
            for name in roles
        }
        return environ | urls | {"DATABASE_URL": made[-1]}

    yield make
    for url in made:
        databases.drop_database(environ["DATABASE_URL"], url)


def close_again(before: str, url: str, shard: TinyShard) -> None:
    """Post the shard there too, and close its ranges as they were: what a prover adopts."""
    write(url, shard)
    marks = ", ".join(["%s"] * len(CLOSED.split(", ")))
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        values = rows(before, f"SELECT {CLOSED} FROM ranges ORDER BY range_no")
        cursor.executemany(f"INSERT INTO ranges ({CLOSED}, journal_offset) VALUES ({marks}, 0)", values)


def test_under_a_new_cosigner_retention_and_policy_a_lost_ledger_adopts_what_is_archived(
    pipeline: Pipeline, database_url: str, another_database: Callable[[], dict[str, str]]
) -> None:
    shard = TinyShard().post(23).silence(4)
    prove(pipeline, database_url, shard)
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: listed_offset(database_url, 0) == shard.next_offset)
    held = pipeline.archive().versions("test/")
    pipeline.cosigner, pipeline.archiving = pipeline.other_signer, ArchiverSettings("2")
    pipeline.retention_days = 3000
    archived = "SELECT object_key, version_id, sha256, retain_until FROM archive_objects ORDER BY range_no"
    listed = "SELECT manifest, version_id FROM manifests ORDER BY manifest_no"
    for put_back in ("archiver", "rebuild"):
        pipeline.environ = another_database()
        url = pipeline.environ["DATABASE_URL"]
        close_again(database_url, url, shard)
        prove(pipeline, url, shard)
        assert rows(url, "SELECT proof FROM proofs") != rows(database_url, "SELECT proof FROM proofs"), "not cosigned"
        if put_back == "archiver":
            with contextlib.closing(pipeline.archiver()) as archiver:
                step_until(archiver, partial(archived_whole, url, shard))
        else:
            bucket = f"s3://{pipeline.environ['S3_AUDIT_BUCKET']}"
            rebuilt = rebuilds.run(url, pipeline.registry, bucket, environ=pipeline.environ, env="test")
            assert rebuilt.sound
        assert rows(url, archived) == rows(database_url, archived)
        assert rows(url, listed) == rows(database_url, listed)
        assert pipeline.archive().versions("test/") == held
    assert verify_archive(pipeline.archive(), "test", pipeline.registry).sound
