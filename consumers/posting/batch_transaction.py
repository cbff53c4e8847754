"""What the poster and a replay share around a batch's transaction: what it means when one is refused.

Guarantees: an event id that another shard took meanwhile is looked up again, after a bounded number of times with the
other shards locked out, so that two shards that race both get on; first rejections are posted in pieces of their own,
which lock other shards out too; a batch that names more of what was posted than is read at once is posted in halves;
so is one in which the database refuses something, down to the one record, which is Corrupt; offsets without a record,
however many, are accounted for in transactions of bounded size. Each attempt is one whole transaction on the shard's
newest head, so nothing is posted twice, and where batches are cut changes no verdict.
Does not: open the transaction or plan in it: `consumers.posting.poster` and `consumers.recovery.replay` do, in words
that can be read there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from consumers.posting.batch_pieces import around
from ledger_core.errors import Corrupt
from ledger_core.posting.plans import Decided, ShardHead
from ledger_core.posting.store_port import BatchFailed, EventIdTaken, FirstRejections, HeavyLookUp, RecordRefused

EVENT_ID_RACES_MAX: Final = 5  # lost in a row; then the batch is posted with the other shards locked out
HOLE_OFFSETS_MAX: Final = 20_000  # offsets without a record in one transaction: it must end well within a second

log = structlog.get_logger("poster")


class Commit(Protocol):
    """One transaction on the head: the batch, then the offsets without a record below `upto` (None: no more of them).
    `alone`: no other shard may post meanwhile (docs/decisions, 007)."""

    def __call__(self, head: ShardHead, batch: Sequence[Decided], *, alone: bool, upto: int | None = None) -> None: ...


def post_batch(
    head_of: Callable[[], ShardHead], batch: Sequence[Decided], commit: Commit, *, alone: bool = False
) -> None:
    """Commit the batch beside other shards; only what turns out to be a first rejection alone, and in halves when the
    database refuses something (down to the one record), or has too much to compare the batch with.

    `head_of` gives the shard's head as it stands, `commit` is one transaction on it. Raises what `commit` raises, but
    RecordRefused (the one record; what stands before it is posted) or Corrupt instead of BatchFailed and EventIdTaken,
    and never FirstRejections or HeavyLookUp.
    """
    _pass_hole(head_of, batch[0].record.offset, commit)
    head = head_of()
    try:
        _commit_when_found(head, batch, commit, alone=alone)
        return
    except FirstRejections as found:  # nothing was written, and only beside other shards: so this ends
        pieces = around(batch, found.offsets)
    except BatchFailed as error:
        if len(batch) == 1:
            offset = batch[0].record.offset
            if not error.taken:
                raise RecordRefused(head.shard, offset, str(error)) from error
            raise Corrupt(f"shard {head.shard}: offset {offset} cannot be posted: {error}") from error
        log.warning("poster.bisecting", shard=head.shard, records=len(batch), detail=str(error))
        pieces = _halves(batch, alone=alone)
    except HeavyLookUp as error:
        log.info("poster.heavy_look_up", shard=head.shard, records=len(batch), detail=str(error))
        pieces = _halves(batch, alone=alone)
    for piece, needs_alone in pieces:
        post_batch(head_of, piece, commit, alone=needs_alone)


def _pass_hole(head_of: Callable[[], ShardHead], offset: int, commit: Commit) -> None:
    """Account for what lies before `offset` and holds no record (an aborted transaction may be of any size), but for a
    rest that the batch's own transaction takes along."""
    while offset - (head := head_of()).next_offset > HOLE_OFFSETS_MAX:
        upto = head.next_offset + HOLE_OFFSETS_MAX
        try:
            commit(head, [], alone=False, upto=upto)
        except BatchFailed as error:
            raise Corrupt(
                f"shard {head.shard}: offsets {head.next_offset}..{upto - 1}, which hold no record, cannot be "
                f"accounted for: {error}"
            ) from error


def _halves(batch: Sequence[Decided], *, alone: bool) -> list[tuple[Sequence[Decided], bool]]:
    middle = len(batch) // 2
    return [(batch[:middle], alone), (batch[middle:], alone)]


def _commit_when_found(head: ShardHead, batch: Sequence[Decided], commit: Commit, *, alone: bool) -> None:
    """Plan again as often as another shard comes first, at last with the others locked out: so a race has an end."""
    for _ in range(EVENT_ID_RACES_MAX):
        try:
            commit(head, batch, alone=alone)
            return
        except EventIdTaken as error:  # another shard posted it meanwhile: the next look-up sees it
            log.warning("poster.event_id_taken", shard=head.shard, detail=str(error))
    try:
        commit(head, batch, alone=True)
    except EventIdTaken as error:  # nobody posts meanwhile: what the index holds, every look-up sees
        raise Corrupt(
            f"shard {head.shard}: event ids from offset {head.next_offset} belong to another shard, "
            f"and no look-up finds them, although no other shard posts: {error}"
        ) from error
