"""Two shards that race for the same event ids: whoever comes too late looks up again, and both get on."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from consumers.posting.batch_transaction import EVENT_ID_RACES_MAX, post_batch
from consumers.posting.decision import decide
from ledger_core.postgres.posting.poster_store import PosterStore
from ledger_core.posting.plans import Decided, ShardHead
from ledger_core.posting.sequencing import event_ids, sequence
from tests.support.databases import role_url
from tests.support.posting_runs import check_ledger, rows
from tests.support.settlements import TOPIC, record, settlement

pytestmark = pytest.mark.services

RACED = EVENT_ID_RACES_MAX + 3


class Racer:
    """One shard, and what happens each time between its look-up and its writing."""

    def __init__(self, url: str, shard: int) -> None:
        self.store = PosterStore(url)
        self.head = self.store.open_shard(shard, TOPIC)
        self.alone: list[bool] = []

    def meanwhile(self, *, alone: bool) -> None: ...

    def commit(self, head: ShardHead, batch: Sequence[Decided], *, alone: bool, upto: int | None = None) -> None:
        self.alone.append(alone)
        with self.store.batch(head, alone=alone) as tx:
            known = tx.look_up(*event_ids(batch))
            self.meanwhile(alone=alone)
            plan = tx.write(sequence(head, batch, known, upto=upto), relayed_offset=0)
        self.head = plan.after

    def post(self, numbers: Sequence[int]) -> None:
        first = self.head.next_offset
        asked = [record(first + n, settlement(it), shard=self.head.shard) for n, it in enumerate(numbers)]
        post_batch(lambda: self.head, [decide(it) for it in asked], self.commit)


class Overtaken(Racer):
    """Each time it has looked up, a rival posts the next of its event ids; a rival that is locked out waits."""

    def __init__(self, url: str, rival: Racer) -> None:
        super().__init__(url, 0)
        self.rival, self.numbers, self.waiting = rival, iter(range(RACED)), list[threading.Thread]()

    def meanwhile(self, *, alone: bool) -> None:
        thread = threading.Thread(target=self.rival.post, args=([next(self.numbers)],))
        thread.start()
        if alone:
            self.waiting.append(thread)
        else:
            thread.join()


def test_event_ids_that_two_shards_race_for_again_and_again_end_in_verdicts(database_url: str) -> None:
    url = role_url(database_url, "finance_poster")
    overtaken = Overtaken(url, Racer(url, 1))
    overtaken.post(range(RACED))
    for thread in overtaken.waiting:
        thread.join()
    assert overtaken.alone == [False] * EVENT_ID_RACES_MAX + [True]
    counted = "SELECT shard, posted, rejected, next_offset FROM shards ORDER BY shard"
    lost = EVENT_ID_RACES_MAX  # the next one came while the others were locked out: its rival has the conflict
    assert rows(database_url, counted) == [(0, RACED - lost, lost, RACED), (1, lost, 1, lost + 1)]
    assert rows(database_url, "SELECT DISTINCT reason FROM verdicts") == [("conflict",)]
    check_ledger(database_url)
