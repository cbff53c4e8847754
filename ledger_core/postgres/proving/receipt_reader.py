"""What a receipt is made of, as the ledger has it: the leaf, a checkpoint over it, and the path between them.

Guarantees: every look-up goes by a primary key or a unique one; the path is read from tiles beside the prover, of the
tree that the checkpoint names. Of an event id it finds the entry, or the verdict that it got for ever.
Does not: verify anything, sign, or wait. Needs the grants of finance_api or finance_auditor.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from ledger_core.errors import Refused
from ledger_core.postgres.proving.tile_store import PostgresTileStore
from ledger_core.postgres.session import translated
from ledger_core.proving import checkpoint
from ledger_core.proving.checkpoint import Checkpoint
from ledger_core.proving.receipt import Leaf
from ledger_core.proving.tiles import ReadTile, TiledTree, TreeName

ENTRY: Final = "SELECT shard, seq, source_offset, body FROM entries WHERE "
BY_EVENT: Final = ENTRY + "event_id = %s::uuid"
BY_SEQ: Final = ENTRY + "shard = %s AND seq = %s"
FIRST_VERDICT: Final = "SELECT shard, source_offset FROM verdicts WHERE first_verdict AND event_id = %s::uuid"
VERDICT: Final = "SELECT line FROM verdicts WHERE shard = %s AND source_offset = %s"
SHARD: Final = "SELECT first_offset, next_offset, seq FROM shards WHERE shard = %s"
OFFSET_OF: Final = "SELECT source_offset FROM entries WHERE shard = %s AND seq = %s"
CLOSED: Final = "SELECT note FROM checkpoints WHERE shard = %s AND next_offset > %s ORDER BY next_offset LIMIT 1"

NEWEST_CLOSED: Final = "SELECT next_offset, note FROM checkpoints WHERE shard = %s ORDER BY next_offset DESC LIMIT 1"


class ReceiptReader:
    """`connection` is in autocommit mode; every method may raise Unavailable("postgres") and Refused."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._tiles = PostgresTileStore(connection)

    @translated()
    def by_event(self, event_id: str) -> Leaf | None:
        """The entry that an event id posted, else the verdict that it got for ever. `event_id` must be a UUID."""
        row = self._connection.execute(BY_EVENT, (event_id,), binary=True).fetchone()
        if row is not None:
            return _entry(*row)
        verdict = self._connection.execute(FIRST_VERDICT, (event_id,)).fetchone()
        return None if verdict is None else self.by_offset(*verdict)

    @translated()
    def by_seq(self, shard: int, seq: int) -> Leaf | None:
        """The entry at a place of the chain."""
        row = self._connection.execute(BY_SEQ, (shard, seq), binary=True).fetchone()
        return None if row is None else _entry(*row)

    @translated()
    def by_offset(self, shard: int, offset: int) -> Leaf | None:
        """What became of the record at an offset: its entry, or its verdict line."""
        row = self._connection.execute(SHARD, (shard,)).fetchone()
        if row is None or not row[0] <= offset < row[1]:
            return None
        seq = self._entries_below(shard, offset, offset - row[0], row[2])
        line = self._connection.execute(VERDICT, (shard, offset), binary=True).fetchone()
        if line is None:
            return self.by_seq(shard, seq + 1)
        return Leaf("verdicts", shard, offset - row[0] - seq, offset, line[0])

    @translated()
    def over(self, leaf: Leaf) -> Checkpoint | None:
        """A signed checkpoint whose record holds the leaf: the newest live one, or that of the range that closed over
        it. None: none is signed yet. Raises Refused when what stands there is not a checkpoint."""
        live = self._tiles.live(leaf.shard)
        if live is not None and live.next_offset > leaf.offset:
            return _parsed(live.note)
        row = self._connection.execute(CLOSED, (leaf.shard, leaf.offset), binary=True).fetchone()
        return None if row is None else _parsed(row[0])

    @translated()
    def newest(self, shard: int) -> bytes | None:
        """The newest checkpoint of a shard, live or of a range, as it stands there."""
        live = self._tiles.live(shard)
        row = self._connection.execute(NEWEST_CLOSED, (shard,), binary=True).fetchone()
        if live is not None and (row is None or row[0] <= live.next_offset):
            return live.note
        return None if row is None else row[1]

    @translated()
    def signed_to(self, shard: int) -> int:
        """The offset that the newest live checkpoint of a shard reaches, exclusive; 0 without one."""
        live = self._tiles.live(shard)
        return 0 if live is None else live.next_offset

    def path(self, leaf: Leaf, kept: Checkpoint) -> tuple[bytes, ...]:
        """The leaf's inclusion proof in its tree of the checkpoint. Raises ValueError where tiles are missing."""
        size = kept.size if leaf.tree == "entries" else kept.record.verdict_count
        return self.tree(leaf.shard, leaf.tree, size).inclusion_proof(leaf.index)

    def tree(self, shard: int, tree: TreeName, size: int) -> TiledTree:
        """A tree of a shard at a size."""
        return TiledTree(size, self.tiles(shard, tree))

    def tiles(self, shard: int, tree: TreeName) -> ReadTile:
        """Reads the tiles of one tree, full ones and edges."""
        return self._tiles.reader(shard, tree)

    def _entries_below(self, shard: int, offset: int, most: int, newest: int) -> int:
        """How many entries stand below an offset: by bisection over the primary key."""
        low, high = 0, min(most, newest)
        while low < high:
            middle = (low + high + 1) // 2
            row = self._connection.execute(OFFSET_OF, (shard, middle)).fetchone()
            if row is not None and row[0] < offset:
                low = middle
            else:
                high = middle - 1
        return low


def _entry(shard: int, seq: int, offset: int, body: bytes) -> Leaf:
    return Leaf("entries", shard, seq - 1, offset, body)


def _parsed(note: bytes) -> Checkpoint:
    try:
        return checkpoint.parse(note)
    except ValueError as error:
        raise Refused(
            f"a checkpoint in this database is not one ({error})", remedy="`finance verify ledger` names it"
        ) from error
