"""A publisher that works in transactions: its markers and aborted records are accounted for, and are no work."""

from __future__ import annotations

import contextlib
from typing import ClassVar

import pytest
from confluent_kafka import Producer

from consumers.metrics import NullMetrics
from consumers.posting.batch_transaction import HOLE_OFFSETS_MAX
from consumers.posting.poster import PosterLimits
from ledger_core.proving.range_limits import RangeLimits
from tests.support.kafka import client
from tests.support.pipeline import Pipeline
from tests.support.pipeline import step_until as pipeline_step_until
from tests.support.posting_runs import check_ledger, new_poster, post_all, publish, rows, step_until, topic_of
from tests.support.replay_runs import replay
from tests.support.settlements import record, settlement
from tests.support.transactions import ENDINGS, ending

pytestmark = pytest.mark.services


def test_markers_of_transactions_are_accounted_for_and_are_no_dead_letters(environ: dict[str, str]) -> None:
    producer = Producer({**client(environ["KAFKA_BROKERS"]), "transactional.id": "shop"})
    producer.init_transactions(300)
    topic = topic_of(environ, "settlements")
    for n, ends in enumerate((producer.commit_transaction, producer.abort_transaction) * 3):
        fields = settlement(n)
        producer.begin_transaction()
        producer.produce(topic, record(0, fields).value, fields.settlement_id, 0)
        producer.flush(300)
        ends(300)
    publish(environ, [record(0, settlement(100))])
    post_all(environ, limits=PosterLimits(dead_letters_max=3))
    dsn = environ["DATABASE_URL"]
    assert rows(dsn, "SELECT posted, rejected, next_offset FROM shards WHERE shard = 0") == [(4, 9, 13)]
    assert rows(dsn, "SELECT DISTINCT reason FROM verdicts") == [("no_record",)]
    assert rows(dsn, "SELECT count(*) FROM dead_letters") == [(0,)]
    check_ledger(dsn)


@pytest.mark.parametrize("how", ENDINGS)
def test_behind_a_transactional_publisher_nothing_waits_once_its_records_are_posted(
    environ: dict[str, str], how: str
) -> None:
    class Told(NullMetrics):
        lags: ClassVar[dict[int, tuple[int, float]]] = {}

        def lag(self, shard: int, records: int, seconds: float) -> None:
            self.lags[shard] = records, seconds

    messages = [(settlement(n).settlement_id.encode(), record(0, settlement(n)).value or b"") for n in range(5)]
    with ending(environ["KAFKA_BROKERS"], topic_of(environ, "settlements"), how, messages) as end:
        poster = new_poster(environ, metrics=Told())
        dsn = environ["DATABASE_URL_POSTER"]
        done = "SELECT next_offset, relayed_offset FROM shards WHERE shard = 0"
        step_until(poster, lambda: rows(dsn, done) == [(end, end)] and Told.lags.get(0) == (0, 0.0))
        poster.close()


def test_an_aborted_transaction_of_any_size_halts_nothing_and_what_stands_behind_it_is_posted(
    environ: dict[str, str], database_url: str
) -> None:
    """More offsets without a record than one transaction of the poster takes, many times over."""
    aborted = 6 * HOLE_OFFSETS_MAX
    brokers, topic = environ["KAFKA_BROKERS"], topic_of(environ, "settlements")
    producer = Producer({**client(brokers), "transactional.id": "shop", "queue.buffering.max.messages": aborted})
    producer.init_transactions(300)
    producer.begin_transaction()
    for _ in range(aborted):
        producer.produce(topic, b"x", b"k", 0)
    producer.flush(300)
    producer.abort_transaction(300)
    publish(environ, [record(0, settlement(1)), record(0, settlement(2), shard=1)])
    post_all(environ)
    heads = "SELECT shard, posted, rejected FROM shards ORDER BY shard"
    assert rows(database_url, heads) == [(0, 1, aborted + 1), (1, 1, 0)]
    assert rows(database_url, "SELECT * FROM halts") == []
    check_ledger(database_url)
    told = replay(environ)
    assert told["counts"]["verdicts_compared"] == aborted + 1
    pipeline = Pipeline(environ, limits=RangeLimits(10_000, 60))
    with contextlib.closing(pipeline.prover()) as prover:
        proved = "SELECT sum(next_offset - first_offset) FROM ranges JOIN proofs USING (shard, range_no)"
        pipeline_step_until(prover, lambda: rows(database_url, proved) == [(aborted + 3,)])
