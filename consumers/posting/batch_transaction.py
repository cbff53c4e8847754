"""What the poster and a replay share around a batch's transaction: what to look up, and what a refused one means.

Guarantees: an event id that another shard took meanwhile is looked up again, a bounded number of times; first
rejections are posted in pieces of their own, the only ones that lock other shards out; a batch in which the database
refuses something is posted in halves, down to the one record, which is Corrupt. Each attempt is one whole transaction
on the shard's newest head, so nothing is posted twice, and where batches are cut changes no verdict.
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
from ledger_core.posting.sequencing import event_ids
from ledger_core.posting.store_port import BatchFailed, EventIdTaken, FirstRejections

EVENT_ID_RETRIES_MAX: Final = 5

log = structlog.get_logger("poster")


class Commit(Protocol):
    """One transaction on the head. `alone`: no other shard may post meanwhile (docs/decisions, 007)."""

    def __call__(self, head: ShardHead, batch: Sequence[Decided], *, alone: bool) -> None: ...


def asked_of(batch: Sequence[Decided]) -> list[str]:
    """The event ids whose first verdict a batch must look up, reversed events included; may repeat."""
    ids, reversed_ids = event_ids(batch)
    return ids + reversed_ids


def post_batch(
    head_of: Callable[[], ShardHead], batch: Sequence[Decided], commit: Commit, *, alone: bool = False
) -> None:
    """Commit the batch beside other shards; only what turns out to be a first rejection alone, and in halves when the
    database refuses something, down to the one record.

    `head_of` gives the shard's head as it stands, `commit` is one transaction on it. Raises what `commit` raises, but
    Corrupt instead of BatchFailed and EventIdTaken, and never FirstRejections.
    """
    head = head_of()
    try:
        _commit_when_found(head, batch, commit, alone=alone)
        return
    except FirstRejections as found:  # nothing was written, and only beside other shards: so this ends
        pieces = around(batch, found.offsets)
    except BatchFailed as error:
        if len(batch) == 1:
            offset = batch[0].record.offset
            raise Corrupt(f"shard {head.shard}: offset {offset} cannot be posted: {error}") from error
        log.warning("poster.bisecting", shard=head.shard, records=len(batch), detail=str(error))
        middle = len(batch) // 2
        pieces = [(batch[:middle], alone), (batch[middle:], alone)]
    for piece, needs_alone in pieces:
        post_batch(head_of, piece, commit, alone=needs_alone)


def _commit_when_found(head: ShardHead, batch: Sequence[Decided], commit: Commit, *, alone: bool) -> None:
    for _ in range(EVENT_ID_RETRIES_MAX):
        try:
            commit(head, batch, alone=alone)
            return
        except EventIdTaken as error:  # another shard posted it meanwhile: the next look-up sees it
            log.warning("poster.event_id_taken", shard=head.shard, detail=str(error))
    raise Corrupt(
        f"shard {head.shard}: event ids from offset {head.next_offset} belong to another shard, "
        "and no look-up finds them"
    )
