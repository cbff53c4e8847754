"""A publisher that works in transactions: its markers and aborted records are accounted for, and are no work."""

from __future__ import annotations

from typing import ClassVar

import pytest
from confluent_kafka import Producer

from consumers.metrics import NullMetrics
from consumers.posting.poster import PosterLimits
from tests.support.kafka import client
from tests.support.posting_runs import check_ledger, new_poster, post_all, publish, rows, step_until, topic_of
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
