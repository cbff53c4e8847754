"""Two provers, or two archivers, of one ledger that overlap under other settings: the second finds what the first made
and takes it, as after a crash; nothing halts, and the archive is sound."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from consumers.archive.archiver import ArchiverSettings
from ledger_core.ports import ArchiveStore, StoredObject
from ledger_core.postgres.proving.prover_store import PostgresProverStore
from ledger_core.proving.range_limits import RangeLimits
from ledger_core.verify.oracle import verify_archive
from tests.support.journal_factory import TinyShard
from tests.support.journal_writer import publish, write
from tests.support.pipeline import Pipeline, step_until
from tests.support.posting_runs import rows

pytestmark = pytest.mark.services

PROVED = "SELECT coalesce(max(next_offset), 0) FROM ranges JOIN proofs USING (shard, range_no)"
LISTED = "SELECT coalesce(max(next_offset), 0) FROM ranges r JOIN manifests m ON m.manifest_no = r.range_no"


@pytest.fixture
def pipeline(environ: dict[str, str]) -> Pipeline:
    return Pipeline(environ)


def reached(url: str, query: str, offset: int) -> Callable[[], bool]:
    return lambda: rows(url, query) == [(offset,)]


def grow(pipeline: Pipeline, url: str, shard: TinyShard) -> None:
    first_seq = len(shard.entries) + 1
    shard.post(8).silence(2)
    write(url, shard)
    publish(pipeline.brokers, pipeline.topic, shard, first_seq)


class Overtaken(PostgresProverStore):
    """The store of a prover that has signed, and is frozen before it publishes: once."""

    meanwhile: ClassVar[list[Callable[[], object]]] = []

    def publish_proof(self, *args: Any) -> bool:
        while self.meanwhile:
            self.meanwhile.pop()()
        return super().publish_proof(*args)


PROVERS: Mapping[str, Callable[[Pipeline], dict[str, Any]]] = {
    "a cosigner": lambda pipeline: {"cosigner": pipeline.other_signer},
    "where a range is cut": lambda _: {"limits": RangeLimits(7, 60)},
    "how long it waits": lambda _: {"idle_seconds": 0.1},
}


@pytest.mark.parametrize("other", PROVERS)
def test_two_provers_that_overlap_publish_each_proof_once(pipeline: Pipeline, database_url: str, other: str) -> None:
    shard = TinyShard()
    grow(pipeline, database_url, shard)
    beside = pipeline.beside(**PROVERS[other](pipeline))
    with (
        contextlib.closing(pipeline.prover(Overtaken)) as old,
        contextlib.closing(beside.prover()) as new,
    ):
        Overtaken.meanwhile = [lambda: step_until(new, reached(database_url, PROVED, 10))]
        step_until(old, reached(database_url, PROVED, 10))
        assert Overtaken.meanwhile == [], "the new one was first"
        grow(pipeline, database_url, shard)
        step_until(old, reached(database_url, PROVED, 20))
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, reached(database_url, LISTED, 20))
    report = verify_archive(pipeline.archive(), "test", pipeline.registry)
    assert (report.findings, report.counts["entries"]) == ((), 16)


class Late:
    """An archive whose client is frozen before one kind of object is stored: once."""

    def __init__(self, archive: ArchiveStore, part: str, meanwhile: Callable[[], object]) -> None:
        self._archive, self._part = archive, part
        self.meanwhile: Callable[[], object] | None = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archive, name)

    def put(self, key: str, data: bytes, **more: Any) -> StoredObject:
        if f"/{self._part}/" in key and (happens := self.meanwhile) is not None:
            self.meanwhile = None
            happens()
        return self._archive.put(key, data, **more)


class OtherZlib:
    """An archive whose client has another zlib: the same lines, in other gzip bytes."""

    def __init__(self, archive: ArchiveStore) -> None:
        self._archive = archive

    def __getattr__(self, name: str) -> Any:
        return getattr(self._archive, name)

    def put(self, key: str, data: bytes, **more: Any) -> StoredObject:
        if key.endswith(".gz"):
            data = gzip.compress(gzip.decompress(data), 1, mtime=0)
        return self._archive.put(key, data, **more)


ARCHIVERS: Mapping[str, Callable[[Pipeline], dict[str, Any]]] = {
    "policy version": lambda _: {"archiving": ArchiverSettings("2")},
    "longer locks": lambda _: {"retention_days": 2600},
    "shorter locks": lambda _: {"retention_days": 2000},
    "the key of manifests": lambda pipeline: {"signer": pipeline.other_signer},
    "zlib": lambda _: {},
    "nothing": lambda _: {},
}


@pytest.mark.parametrize("part", ["batches", "manifests"])
@pytest.mark.parametrize("other", ARCHIVERS)
def test_two_archivers_that_overlap_store_and_list_each_range_once(
    pipeline: Pipeline, database_url: str, other: str, part: str
) -> None:
    shard = TinyShard()
    beside = pipeline.beside(**ARCHIVERS[other](pipeline))
    theirs: Any = OtherZlib(beside.archive()) if other == "zlib" else beside.archive()
    with contextlib.closing(pipeline.prover()) as prover, contextlib.closing(beside.archiver(archive=theirs)) as new:
        late: Any = Late(pipeline.archive(), part, lambda: step_until(new, reached(database_url, LISTED, 20)))
        armed, late.meanwhile = late.meanwhile, None
        with contextlib.closing(pipeline.archiver(archive=late)) as old:
            for end in (10, 20):
                grow(pipeline, database_url, shard)
                step_until(prover, reached(database_url, PROVED, end))
                if end == 20:  # not the first: it is past what a crash may have left
                    late.meanwhile = armed
                step_until(old, reached(database_url, LISTED, end))
            assert late.meanwhile is None, "the new one was first"
            grow(pipeline, database_url, shard)
            step_until(prover, reached(database_url, PROVED, 30))
            step_until(old, reached(database_url, LISTED, 30))
    store = pipeline.archive()
    report = verify_archive(store, "test", pipeline.registry)
    assert (report.findings, report.counts["entries"]) == ((), 24)
    keys = [stored.key for stored in store.versions("test/")]
    assert len(keys) == len(set(keys)) == 6
