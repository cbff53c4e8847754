"""One batch in several transactions: first rejections alone, everything else beside other shards, nothing twice."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from consumers.posting.batch_pieces import APART_RECORDS, around
from consumers.posting.batch_transaction import HOLE_OFFSETS_MAX, post_batch
from consumers.posting.decision import decide
from ledger_core.posting.plans import Decided, ShardHead
from ledger_core.posting.sequencing import event_ids, sequence
from ledger_core.posting.store_port import FirstRejections
from tests.simulator.faults import Faults
from tests.simulator.ledger import MemoryLedger
from tests.simulator.posting import MemoryPosterStore
from tests.support.settlements import TOPIC, event_id, record, sale, settlement

FAR = APART_RECORDS


def sales(*offsets: int) -> list[Decided]:
    return [decide(record(offset, settlement(offset))) for offset in offsets]


def spans(batch: Sequence[Decided], *offsets: int) -> list[tuple[int, int, bool]]:
    pieces = around(batch, set(offsets))
    assert [item for piece, _ in pieces for item in piece] == list(batch)
    return [(piece[0].record.offset, piece[-1].record.offset, alone) for piece, alone in pieces]


def test_a_batch_is_cut_around_what_must_be_alone() -> None:
    batch = sales(*range(3 * FAR))
    assert spans(batch) == [(0, 3 * FAR - 1, False)]
    assert spans(batch, 7) == [(0, 6, False), (7, 7, True), (8, 3 * FAR - 1, False)]
    assert spans(batch, 0, 3 * FAR - 1) == [(0, 0, True), (1, 3 * FAR - 2, False), (3 * FAR - 1, 3 * FAR - 1, True)]


def test_what_stands_near_shares_a_piece_so_that_many_rejections_are_few_transactions() -> None:
    batch = sales(*range(3 * FAR))
    assert spans(batch, 5, 9, 9 + FAR - 1) == [(0, 4, False), (5, 9 + FAR - 1, True), (9 + FAR, 3 * FAR - 1, False)]
    assert len(spans(batch, *range(0, 3 * FAR, 2))) == 2


class Shard:
    """One shard of a ledger in memory, and each transaction that was tried on it: (offsets, alone, written)."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self.ledger = ledger
        self.store = MemoryPosterStore(ledger, Faults())
        self.head = self.store.open_shard(0, TOPIC)
        self.tried: list[tuple[int, int, bool, bool]] = []

    def commit(self, head: ShardHead, batch: Sequence[Decided], *, alone: bool, upto: int | None = None) -> None:
        offsets = (head.next_offset, upto - 1) if upto else (batch[0].record.offset, batch[-1].record.offset)
        self.tried.append((*offsets, alone, False))
        with self.store.batch(head, alone=alone) as tx:
            plan = sequence(head, batch, tx.look_up(*event_ids(batch)), upto=upto)
            plan = tx.write(plan, relayed_offset=0)
        self.head = plan.after
        self.tried[-1] = (*offsets, alone, True)

    def post(self, batch: Sequence[Decided]) -> None:
        post_batch(lambda: self.head, batch, self.commit)


def refund(offset: int, of: int) -> Decided:
    return decide(record(offset, settlement(offset, reverses=event_id(of))))


def test_refunds_of_what_is_posted_are_never_alone() -> None:
    shard = Shard(MemoryLedger())
    shard.post([*sales(0, 1), refund(2, of=0), refund(3, of=1)])
    assert shard.tried == [(0, 3, False, True)]
    shard.post([refund(4, of=0)])
    assert shard.tried[1:] == [(4, 4, False, True)]
    assert shard.head.posted == 5


def test_only_the_first_rejection_is_alone_and_the_plan_is_that_of_one_batch() -> None:
    batch = [*sales(0, 1), refund(2, of=99), *sales(3), refund(3 + FAR, of=3)]
    shard, whole = Shard(MemoryLedger()), Shard(MemoryLedger())
    shard.post(batch)
    assert shard.tried == [
        (0, 3 + FAR, False, False),
        (0, 1, False, True),
        (2, 2, True, True),
        (3, 3 + FAR, False, True),
    ]
    whole.commit(whole.head, batch, alone=True)
    assert shard.head == whole.head
    again = len(shard.tried)
    shard.post([decide(record(4 + FAR, settlement(2, reverses=event_id(99))))])
    assert shard.tried[again:] == [(4 + FAR, 4 + FAR, False, True)], "an event id that has its verdict needs no lock"


def test_a_first_rejection_is_never_written_beside_other_shards() -> None:
    shard = Shard(MemoryLedger())
    with pytest.raises(FirstRejections):
        shard.commit(shard.head, [refund(0, of=99)], alone=False)
    assert shard.head.next_offset == 0


def test_a_hole_of_any_size_is_passed_in_steps_and_what_stands_behind_it_is_posted() -> None:
    shard, step = Shard(MemoryLedger()), HOLE_OFFSETS_MAX
    shard.post(sales(0))
    shard.post(sales(1 + 2 * step + 5, 2 * step + 7))
    assert shard.tried == [
        (0, 0, False, True),
        (1, step, False, True),
        (step + 1, 2 * step, False, True),
        (2 * step + 6, 2 * step + 7, False, True),
    ]
    assert (shard.head.posted, shard.head.rejected) == (3, 2 * step + 5)


def test_a_batch_to_compare_with_too_much_is_cut_and_its_verdicts_stay() -> None:
    """Conflicts, repeats and refunds of what was posted; the refunds only name it, and cost nothing."""
    again = [decide(record(4 + n, settlement(n, lines=sale(5_000 + n % 2)))) for n in range(4)]
    batch = [*again, *(refund(8 + n, of=n) for n in range(4))]
    cut, whole = Shard(MemoryLedger()), Shard(MemoryLedger())
    for shard in (cut, whole):
        shard.post(sales(0, 1, 2, 3))
    first = len(cut.tried)
    cut.ledger.look_up_bytes_max = 1_000  # one entry has some 600
    cut.post(batch)
    whole.post(batch)
    written = [(low, high) for low, high, _, done in cut.tried[first:] if done]
    assert written == [(4, 4), (5, 5), (6, 6), (7, 7), (8, 11)]
    assert cut.head == whole.head
    assert cut.ledger.unposted == whole.ledger.unposted
