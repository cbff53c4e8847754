"""An offset that comes twice in one poll is one record: every reader passes it over, and whoever reads gets on."""

from __future__ import annotations

import ast
import contextlib
import uuid
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from consumers.kafka.group_source import KafkaSource
from consumers.kafka.partition_reader import PartitionReader
from ledger_core.errors import Unavailable
from tests.support import stuttering
from tests.support.kafka import tls
from tests.support.pipeline import Pipeline, step_until
from tests.support.posting_runs import check_journal, check_ledger, post_all, publish, read_topic, rows, topic_of
from tests.support.settlements import record, settlement
from tests.support.waits import until

pytestmark = pytest.mark.services

ROOT = Path(__file__).parents[3]
RECORDS = 30
Environ = dict[str, str]


def of_a_group(environ: Environ) -> Generator[list[int], None, None]:
    brokers, topic = environ["KAFKA_BROKERS"], topic_of(environ, "settlements")
    source = KafkaSource(brokers, topic, uuid.uuid4().hex, lambda _: 0, lambda _: None, tls(brokers))
    with contextlib.closing(source):
        while True:
            yield [it.offset for number, group in source.poll(1000, 0.1) if number == 0 for it in group]


def of_a_partition(environ: Environ) -> Generator[list[int], None, None]:
    brokers, topic = environ["KAFKA_BROKERS"], topic_of(environ, "settlements")
    reader = PartitionReader(brokers, topic, 0, 0, RECORDS, tls(brokers))
    with contextlib.closing(reader):
        while True:
            yield [it.offset for it in reader.read(1000)]


READERS: dict[str, Callable[[Environ], Generator[list[int], None, None]]] = {
    "consumers.kafka.group_source": of_a_group,
    "consumers.kafka.partition_reader": of_a_partition,
}


def offsets_of(environ: Environ, reader: str) -> list[int]:
    read: list[int] = []
    polls = READERS[reader](environ)
    try:
        until("everything is read", lambda: RECORDS - 1 in read, between=lambda: read.extend(next(polls)))
    finally:
        polls.close()
    return read


def published(environ: Environ) -> None:
    publish(environ, [record(0, settlement(number)) for number in range(RECORDS)])


@pytest.mark.parametrize("change", [stuttering.twice, stuttering.each_twice])
@pytest.mark.parametrize("reader", READERS)
def test_a_reader_hands_each_offset_over_once(
    environ: Environ, monkeypatch: pytest.MonkeyPatch, reader: str, change: stuttering.Change
) -> None:
    published(environ)
    stuttering.stutter(monkeypatch, change)
    assert offsets_of(environ, reader) == list(range(RECORDS))


@pytest.mark.parametrize("reader", READERS)
def test_records_out_of_order_are_no_repeats_and_are_read_anew(
    environ: Environ, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    published(environ)
    stuttering.stutter(monkeypatch, stuttering.backwards)
    with pytest.raises(Unavailable, match="came behind a later one"):
        offsets_of(environ, reader)


def test_poster_prover_and_archiver_get_on_and_the_ledger_is_sound(
    environ: Environ, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(environ, [record(0, settlement(number), shard=number % 2) for number in range(2 * RECORDS)])
    stuttering.stutter(monkeypatch, stuttering.twice)
    post_all(environ)
    check_ledger(database_url)
    pipeline = Pipeline(environ)
    ranges = "SELECT coalesce(sum(next_offset - first_offset), 0) FROM ranges JOIN proofs USING (shard, range_no)"
    with contextlib.closing(pipeline.prover()) as prover:
        step_until(prover, lambda: rows(database_url, ranges) == [(2 * RECORDS,)])
    listed = "SELECT (SELECT count(*) FROM manifests) = (SELECT count(*) FROM ranges)"
    with contextlib.closing(pipeline.archiver()) as archiver:
        step_until(archiver, lambda: rows(database_url, listed) == [(True,)])
    check_journal(environ, database_url)
    assert len(read_topic(environ, topic_of(environ, "outcomes"), 0)) == RECORDS


def test_every_reader_of_many_records_is_in_this_table() -> None:
    def consumes(tree: ast.AST) -> bool:
        return any(isinstance(node, ast.Attribute) and node.attr == "consume" for node in ast.walk(tree))

    found = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for floor in ("consumers", "producers", "finance", "ledger_core")
        for path in (ROOT / floor).rglob("*.py")
        if consumes(ast.parse(path.read_text()))
    }
    assert found == set(READERS) == set(stuttering.READERS)
