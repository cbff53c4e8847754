"""What the poster and a replay share around a batch's transaction: what to ask in it, and what a refused one means.

Guarantees: an event id that another shard took meanwhile is looked up again, a bounded number of times; a batch in
which the database refuses something is posted in halves, down to the one record, which is Corrupt. Each attempt is one
whole transaction on the shard's newest head, so nothing is posted twice.
Does not: open the transaction or plan in it: `consumers.posting.poster` and `consumers.recovery.replay` do, in words
that can be read there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import structlog

from ledger_core.errors import Corrupt
from ledger_core.posting.plans import Decided, Rejection, ShardHead
from ledger_core.posting.sequencing import event_ids
from ledger_core.posting.store_port import BatchFailed, EventIdTaken

EVENT_ID_RETRIES_MAX: Final = 5

log = structlog.get_logger("poster")


class Asked(NamedTuple):
    """What a batch's transaction must know before it plans. Read from the records alone.

    event_ids      those whose first verdict is to be looked up, reversed events included; may repeat
    rejects_first  some event id may get a rejection as its first verdict, so no other shard may post meanwhile
    """

    event_ids: list[str]  # not unique
    rejects_first: bool  # set by the batch's records alone


def asked_of(batch: Sequence[Decided]) -> Asked:
    """What to open the batch's transaction with, and what to look up in it."""
    ids, reversed_ids = event_ids(batch)
    rejects_first = bool(reversed_ids) or any(
        isinstance(item.outcome, Rejection) and item.outcome.event_id is not None for item in batch
    )
    return Asked(ids + reversed_ids, rejects_first)


def post_batch(
    head_of: Callable[[], ShardHead], batch: Sequence[Decided], commit: Callable[[ShardHead, Sequence[Decided]], None]
) -> None:
    """Commit the batch, in halves when the database refuses something in it, down to the one record.

    `head_of` gives the shard's head as it stands, `commit` is one transaction on it. Raises what `commit` raises, but
    Corrupt instead of BatchFailed and EventIdTaken.
    """
    head = head_of()
    try:
        _commit_when_found(head, batch, commit)
        return
    except BatchFailed as error:
        if len(batch) == 1:
            offset = batch[0].record.offset
            raise Corrupt(f"shard {head.shard}: offset {offset} cannot be posted: {error}") from error
        log.warning("poster.bisecting", shard=head.shard, records=len(batch), detail=str(error))
    middle = len(batch) // 2
    post_batch(head_of, batch[:middle], commit)
    post_batch(head_of, batch[middle:], commit)


def _commit_when_found(
    head: ShardHead, batch: Sequence[Decided], commit: Callable[[ShardHead, Sequence[Decided]], None]
) -> None:
    for _ in range(EVENT_ID_RETRIES_MAX):
        try:
            commit(head, batch)
            return
        except EventIdTaken as error:  # another shard posted it meanwhile: the next look-up sees it
            log.warning("poster.event_id_taken", shard=head.shard, detail=str(error))
    raise Corrupt(
        f"shard {head.shard}: event ids from offset {head.next_offset} belong to another shard, "
        "and no look-up finds them"
    )
