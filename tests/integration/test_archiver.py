"""Prover and archiver on Postgres, Kafka and S3 with Object Lock: the archive, read back as a stranger would."""

from __future__ import annotations

import contextlib

import psycopg
import pytest
from botocore.exceptions import ClientError

from ledger_core.errors import Refused, Unavailable
from ledger_core.ports import StoredObject
from ledger_core.postgres.archive_store import PostgresArchiveStore
from ledger_core.verify import verify_archive
from tests.support.archive_checks import check_archive
from tests.support.buckets import s3_client
from tests.support.journal_factory import TinyShard
from tests.support.journal_writer import publish, write
from tests.support.pipeline import Pipeline, step_until


@pytest.fixture
def pipeline(environ) -> Pipeline:
    return Pipeline(environ)


def rows(url: str, query: str, *values):
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


def test_everything_proved_is_archived_under_lock_and_listed(pipeline, database_url):
    shards = [TinyShard(shard=0).post(23).silence(4), TinyShard(shard=1, first_offset=5).silence(12).post(3)]
    prove(pipeline, database_url, *shards)
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: all(listed_offset(database_url, it.shard) == it.next_offset for it in shards))
    check_all(pipeline, database_url, *shards)
    assert pipeline.metrics.exports == rows(database_url, "SELECT count(*) FROM manifests")[0][0]


def test_archiver_follows_the_prover_and_a_restart_goes_on(pipeline, database_url):
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


class DiesBefore(PostgresArchiveStore):
    """A store whose process dies just before one kind of row is written: after the PUT."""

    table = ""

    def record_object(self, *args) -> bool:
        if self.table == "archive_objects":
            raise Unavailable("postgres", "as planned")
        return super().record_object(*args)

    def record_manifest(self, *args) -> bool:
        if self.table == "manifests":
            raise Unavailable("postgres", "as planned")
        return super().record_manifest(*args)


@pytest.mark.parametrize("table", ["archive_objects", "manifests"])
def test_what_was_stored_and_not_recorded_is_found_and_taken_for_ours(pipeline, database_url, table):
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


def test_a_bucket_without_object_lock_is_refused_with_the_remedy(pipeline):
    name = pipeline.environ["S3_AUDIT_BUCKET"] + "-plain"
    s3_client(pipeline.environ).create_bucket(Bucket=name)
    pipeline.environ = pipeline.environ | {"S3_AUDIT_BUCKET": name}
    with pytest.raises(Refused, match=r"no Object Lock.*Remedy: create a bucket with Object Lock"):
        pipeline.archiver()


def test_s3_that_is_away_is_unavailable_and_nothing_is_lost(pipeline, database_url):
    shard = TinyShard().post(10)
    prove(pipeline, database_url, shard)
    archiver = pipeline.archiver()
    elsewhere = pipeline.environ | {"S3_AUDIT_ENDPOINT": "http://127.0.0.1:9"}  # where nobody listens
    archiver._archive = Pipeline(elsewhere).archive()
    with contextlib.closing(archiver), pytest.raises(Unavailable, match="s3"):
        step_until(archiver, lambda: False)
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: listed_offset(database_url, 0) == 10)
    check_all(pipeline, database_url, shard)


def test_a_locked_object_of_the_archive_cannot_be_deleted(pipeline, database_url):
    shard = TinyShard().post(10)
    prove(pipeline, database_url, shard)
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: listed_offset(database_url, 0) == 10)
    s3 = s3_client(pipeline.environ)
    for stored in pipeline.archive().versions("test/"):
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket=pipeline.environ["S3_AUDIT_BUCKET"], Key=stored.key, VersionId=stored.version_id)
    check_all(pipeline, database_url, shard)
