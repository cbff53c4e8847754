"""Shards whose posted offsets the topics may lack: published again from Postgres before the shard posts on.

Guarantees: a batch or two after a crash are published at once; all of it after a rebuild whose journal was lost, in
pieces, of which the shard's owner asks one between two polls: so the group hears of it, and its other shards post.
Each piece is acknowledged and noted before the next, so whoever takes over goes on from there.
Does not: hold a shard back while it is behind: the poster does.
"""

from __future__ import annotations

from typing import Final

import msgspec
import structlog

from consumers.posting.relay import Relay
from ledger_core.posting.plans import ShardHead
from ledger_core.posting.store_port import PosterStore

PIECE_OFFSETS_MAX: Final = 10_000  # in memory at once, and between two notes of how far it came
PIECE_BYTES_MAX: Final = 8 * 1024 * 1024  # likewise, of bodies and originals; one offset may weigh more

log = structlog.get_logger("poster")


class RelayBacklog:
    """The shards of one process that are behind."""

    def __init__(self, store: PosterStore, relay: Relay) -> None:
        self._store = store
        self._relay = relay
        self._behind: set[int] = set()

    def __contains__(self, shard: int) -> bool:
        return shard in self._behind

    @property
    def shards(self) -> list[int]:
        return sorted(self._behind)

    def forget(self, shard: int) -> None:
        self._behind.discard(shard)

    def relay(self, head: ShardHead) -> ShardHead:
        """Publish the next piece of what lies below the head, and note it; the head afterwards. The last piece is
        noted by the owner, with its next batch. Raises Unavailable."""
        # The relay's two steps, from Postgres; then the cursor moves. A crash anywhere publishes this piece again.
        shard, upto = head.shard, min(head.next_offset, head.relayed_offset + PIECE_OFFSETS_MAX)
        if head.relayed_offset < upto:
            upto = self._store.unrelayed_end(head, upto, PIECE_BYTES_MAX)
            items = self._store.unrelayed(head, upto)
            self._relay.publish_again(shard, items)
            log.info("poster.relayed_again", shard=shard, records=len(items), from_offset=head.relayed_offset)
        if upto == head.next_offset:
            self._behind.discard(shard)
            return head
        self._behind.add(shard)
        self._relay.barrier()
        self._store.note_relayed(shard, upto)
        return msgspec.structs.replace(head, relayed_offset=upto)
