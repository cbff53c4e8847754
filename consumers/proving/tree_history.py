"""The tree behind a checkpoint, as a witness asks for it: from closed ranges and the journal, when it is asked for.

Guarantees: a proof that the checkpoint continues a smaller tree is compared with both roots before it is handed out, so
that a journal that contradicts a closed range is Corrupt here, and no fork there; read as a stream, a range's worth.
A checkpoint may also be asked to lead to a *larger* tree: that is how a database that was put back gets again what the
witness had signed for it, and no other.
Does not: read anything for signers that are not a witness.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import islice

from consumers.kafka.journal_records import journal_record
from ledger_core.errors import Corrupt, Refused, SignerFailure, SignerRefused
from ledger_core.ports import Record
from ledger_core.proving.closed_range import ClosedRange
from ledger_core.proving.tiles import ReadTile, TiledTree
from ledger_core.tree import CompactRange, consistency_onwards, leaf_hash, verify_consistency

ReadJournal = Callable[[int, int], Generator[Record]]
"""(shard, offset of the journal) -> its records from there to the end."""

RangeBelow = Callable[[int, int], ClosedRange | None]
"""(shard, size) -> the newest closed range whose tree is not larger."""


class ShardHistory:
    """A `ledger_core.ports.TreeHistory` of the checkpoint of `closed`. `seen_size` answers that of the newest live
    checkpoint, 0 without one; a witness saw it last, unless a range was signed since."""

    def __init__(
        self,
        closed: ClosedRange,
        range_below: RangeBelow,
        read_journal: ReadJournal,
        seen_size: Callable[[], int] = lambda: 0,
    ) -> None:
        self._closed = closed
        self._seen_size = seen_size
        self._range_below = range_below
        self._read_journal = read_journal

    @property
    def old_size(self) -> int:
        return max(self._closed.first_seq - 1, self._seen_size())

    def consistency(self, size: int) -> tuple[bytes, ...]:
        """The proof that the tree of `size` is a prefix. Raises Corrupt when the journal leads elsewhere."""
        tree = CompactRange.from_bytes(self._closed.last_seq, self._closed.tree)
        if size >= tree.size:
            return consistency_onwards(tree, size, self._leaves(tree.size, size, self._closed.journal_offset))
        below = self._range_below(self._closed.shard, size)
        base = CompactRange() if below is None else CompactRange.from_bytes(below.last_seq, below.tree)
        leaves = self._leaves(base.size, tree.size, 0 if below is None else below.journal_offset)
        old = base.extend(islice(leaves, size - base.size))
        proof = consistency_onwards(old, tree.size, leaves)
        try:
            verify_consistency(old.size, tree.size, old.root(), tree.root(), proof)
        except ValueError as error:
            raise Corrupt(
                f"shard {self._closed.shard}: the journal does not lead from size {size} to range "
                f"{self._closed.range_no} ({error})"
            ) from error
        return proof

    def _leaves(self, after: int, last: int, offset: int) -> Iterator[bytes]:
        """The leaf hashes of entries `after + 1` to `last`; the relay may repeat, but leaves nothing out."""
        seq, shard = after, self._closed.shard
        try:
            with closing(self._read_journal(shard, offset)) as records:
                while seq < last and (record := next(records, None)) is not None:
                    item = journal_record(record)
                    if item.seq > seq + 1:
                        raise Corrupt(f"shard {shard}: the journal goes from seq {seq} to {item.seq}")
                    if item.seq == seq + 1:
                        seq += 1
                        yield leaf_hash(item.body)
            ends = f"ends at seq {seq}"
        except Refused as error:
            ends = f"cannot be read ({error.message})"
        if seq < last:
            raise SignerRefused(
                SignerFailure.WITNESS,
                f"shard {shard}: a witness wants to see the tree up to size {last}, and the journal {ends}",
                remedy="find what was lost: a ledger that was put back grows there again, a fork of it never does",
            )


class TiledHistory:
    """A `ledger_core.ports.TreeHistory` of a tree that is kept in tiles."""

    def __init__(self, shard: int, size: int, old_size: int, tile: ReadTile) -> None:
        self._shard = shard
        self._old_size = old_size
        self._tree = TiledTree(size, tile)

    @property
    def old_size(self) -> int:
        return self._old_size

    def consistency(self, size: int) -> tuple[bytes, ...]:
        """The proof that the tree of `size` is a prefix of this one. Raises SignerRefused (WITNESS) when it is larger:
        what was lost is signed once it is there again."""
        if size > self._tree.size:
            raise SignerRefused(
                SignerFailure.WITNESS,
                f"shard {self._shard}: a witness saw the tree at size {size}, and it has {self._tree.size} so far",
                remedy="wait: a ledger that was put back grows there again",
            )
        return self._tree.consistency_proof(size)
