"""Checkpoints apart from ranges: the prover signs, each interval while something is new, what it took and checked.

The order of side effects; each step stands as a comment where it happens:
  1. GROW the trees in memory          nothing changes; a crash reads again from the last closed range
  2. SIGN the text                     nothing is shown; a crash forgets the signature
  3. KEEP tiles, edges and the note    a commit point: the checkpoint is shown

Guarantees: what is signed is a pure function of the shard's record up to an offset, and all of that was published (the
relay published outcomes and journal before the prover could read them): a database that was put back leads to the same
text, or nothing is signed (decision 135). Trees continue those of the last closed range, or the shard signs none. Tiles
that are missing (a rebuild leaves none) are made again from the journal, a piece at a time.
Does not: bind a range, or write an audit event. A shard that the guard refuses signs none, and neither does one whose
database lost ranges, until they are closed again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Protocol

import structlog

from consumers.kafka.journal_records import journal_record
from consumers.metrics import Metrics
from consumers.proving.note_lines import note_lines
from consumers.proving.published_guard import ClosingGuard
from consumers.proving.range_closer import ProvedShard, RecordBase
from consumers.proving.tree_history import ReadJournal, TiledHistory
from consumers.signing.circuit import SignerAway
from consumers.signing.signer_set import SignerSet
from ledger_core.books.entries import decode_entry
from ledger_core.errors import Corrupt, Refused, SignerFailure, SignerRefused
from ledger_core.ports import Record
from ledger_core.proving.checkpoint import origin_of, record_text
from ledger_core.proving.closed_range import ClosedRange
from ledger_core.proving.open_range import OpenRange, ShardPosition
from ledger_core.proving.tiles import GrowingTiles, Growth, LiveCheckpoint, ReadTile, TreeName, overlaid
from ledger_core.tree import leaf_hash, leaf_hashes

log: Final = structlog.get_logger("prover")
SHARDS_AT_ONCE_MAX: Final = 20  # signed in one step, so that reading goes on
CATCH_UP_ENTRIES: Final = 20_000  # read again in one step
FRESH_LEAVES_MAX: Final = 500_000  # 50 MB: then nothing else is done before the tiles are there


class LiveStore(Protocol):
    """See `ledger_core.postgres.proving`: prover_store and tile_store. Every method may raise Unavailable."""

    def positions(self, shards: Sequence[int]) -> Mapping[int, ShardPosition]: ...

    def verdict_lines(self, shard: int, first_offset: int, next_offset: int) -> list[bytes]: ...

    def range_below(self, shard: int, size: int) -> ClosedRange | None: ...


class TileStore(Protocol):
    """See `ledger_core.postgres.proving.tile_store`. Every method may raise Unavailable("postgres")."""

    def live(self, shard: int) -> LiveCheckpoint | None: ...

    def kept(self, shard: int, tree: TreeName) -> int: ...

    def reader(self, shard: int, tree: TreeName) -> ReadTile: ...

    def keep(self, shard: int, grown: Sequence[Growth], live: LiveCheckpoint | None, epoch_no: int | None) -> bool: ...


@dataclass(slots=True)
class _Trees:
    """What is held of a shard; all of it is read again from tiles and journal."""

    growing: OpenRange  # whose leaves continue them
    base: RecordBase  # the last closed range, from which it grows
    entries: GrowingTiles
    verdicts: GrowingTiles
    shown: LiveCheckpoint | None  # the newest one that is stored
    refused: bool = False  # they do not continue the last closed range
    behind: Generator[Record] | None = field(default=None)  # while they are made again: the rest of the journal

    @property
    def next_offset(self) -> int:
        return self.base.first_offset + self.entries.size + self.verdicts.size

    @property
    def is_behind(self) -> bool:
        base = self.base
        return not self.refused and (self.entries.size < base.entries.size or self.verdicts.size < base.verdicts.size)


class LiveCheckpoints:
    """One for a prover. `monotonic` gives seconds."""

    def __init__(
        self,
        store: LiveStore,
        tiles: TileStore,
        signers: SignerSet,
        guard: ClosingGuard,
        *,
        env: str,
        domain: str,
        interval_seconds: float,
        read_journal: ReadJournal,
        monotonic: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self._covered: dict[int, float] = {}  # when nothing of the shard waited for a checkpoint, for the last time
        self._store = store
        self._tiles = tiles
        self._signers = signers
        self._guard = guard
        self._env = env
        self._domain = domain
        self._interval_seconds = interval_seconds
        self._read_journal = read_journal
        self._monotonic = monotonic
        self._trees: dict[int, _Trees] = {}
        self._waiting: dict[int, ShardPosition] = {}  # this interval's shards that had no turn yet
        self._due = 0.0

    def step(self, shards: Mapping[int, ProvedShard]) -> bool:
        """Sign what is due of the shards that are owned. Raises Unavailable, Refused, Corrupt."""
        now = self._monotonic()
        for number, shard in shards.items():
            waits = now - self._covered.setdefault(number, now) if shard.growing is not None else 0.0
            self._metrics.checkpoint(number, waits if waits > 2 * self._interval_seconds else 0.0)  # else: its turn
        if now >= self._due:
            self._due = now + self._interval_seconds
            for shard in shards.values():
                if shard.growing is not None and shard.announced:
                    shard.growing.drain()  # it is read anew when they are closed
            ready = [number for number, shard in sorted(shards.items()) if self._may(shard)]
            self._waiting = dict(self._store.positions(ready)) if ready else {}
        worked = False
        for number in list(self._waiting)[:SHARDS_AT_ONCE_MAX]:
            position = self._waiting.pop(number)
            if number in shards and self._may(shards[number]):
                worked |= self._one(shards[number], position)
        return worked

    def signed_size(self, shard: int) -> int:
        """Size of the newest live checkpoint of a shard; 0 without one. Raises Unavailable("postgres")."""
        shown = self._trees[shard].shown if shard in self._trees else self._tiles.live(shard)
        return 0 if shown is None else shown.size

    def forget(self, shard: int) -> None:
        """Another process owns it now."""
        self._covered.pop(shard, None)
        self._drop(shard)

    def _drop(self, shard: int) -> None:
        if (trees := self._trees.pop(shard, None)) is not None and trees.behind is not None:
            trees.behind.close()

    def _may(self, shard: ProvedShard) -> bool:
        return shard.growing is not None and not shard.announced and self._guard.allows(shard.number)

    def _one(self, shard: ProvedShard, position: ShardPosition) -> bool:
        growing, trees = shard.growing, self._trees.get(shard.number)
        if growing is None or shard.base is None or position.seq < growing.seq:  # put back: its poster posts them again
            return False
        if trees is None or trees.growing is not growing:
            trees = self._begin(shard, growing, shard.base)
        while trees.is_behind:
            self._catch_up(shard, trees)
            if trees.is_behind and len(growing.fresh) < FRESH_LEAVES_MAX:
                self._waiting[shard.number] = position
                return True
        if trees.refused:
            growing.drain()
            return False
        return self._advance(shard, trees, growing.reached(position))

    def _begin(self, shard: ProvedShard, growing: OpenRange, base: RecordBase) -> _Trees:
        """The trees at the last closed range, or as far as they are kept when that is less."""
        self._drop(shard.number)
        trees = _Trees(growing, base, GrowingTiles(), GrowingTiles(), self._tiles.live(shard.number))
        self._trees[shard.number] = trees
        try:
            trees.entries = self._read(shard, "entries", base.entries.size)
            trees.verdicts = self._read(shard, "verdicts", base.verdicts.size)
        except ValueError as error:
            self._refuse(shard, trees, str(error))
        self._compare(shard, trees)
        return trees

    def _read(self, shard: ProvedShard, tree: TreeName, size: int) -> GrowingTiles:
        kept = self._tiles.kept(shard.number, tree)
        return GrowingTiles.read(min(kept, size), self._tiles.reader(shard.number, tree))

    def _catch_up(self, shard: ProvedShard, trees: _Trees) -> None:
        """Make the next tiles that are missing, from the journal."""
        base, size = trees.base, trees.entries.size
        if trees.behind is None:
            below = self._store.range_below(shard.number, size)
            trees.behind = self._read_journal(shard.number, 0 if below is None else below.journal_offset)
            log.info("tiles.made_again", shard=shard.number, size=size, up_to=base.entries.size)
        bodies: list[bytes] = []
        try:
            for item in map(journal_record, islice(trees.behind, CATCH_UP_ENTRIES)):
                if size + len(bodies) < item.seq <= base.entries.size:  # the relay may repeat, but leaves nothing out
                    bodies.append(item.body)
        except Refused as error:
            self._refuse(shard, trees, error.message)
            return
        done = size + len(bodies) == base.entries.size
        if not bodies and not done:
            self._refuse(shard, trees, f"the journal ends at seq {size}, and a range is closed beyond it")
            return
        end = base.next_offset if done else int(decode_entry(bodies[-1]).source.offset) + 1
        grown = self._grow(shard, trees, leaf_hashes(bodies), end)
        self._keep(shard, trees, grown, None)
        self._compare(shard, trees)

    def _compare(self, shard: ProvedShard, trees: _Trees) -> None:
        base = trees.base
        same = trees.entries.size == base.entries.size and trees.verdicts.size == base.verdicts.size
        if same and not trees.refused:
            if trees.behind is not None:
                trees.behind.close()
                trees.behind = None
            if (trees.entries.compact(), trees.verdicts.compact()) != (base.entries, base.verdicts):
                self._refuse(shard, trees, "they do not lead to the trees of the last closed range")

    def _refuse(self, shard: ProvedShard, trees: _Trees, why: str) -> None:
        trees.refused = True
        log.error(
            "tiles.refused",
            shard=shard.number,
            message=f"the tiles of shard {shard.number} are not those of its ledger: {why}",
            remedy="`finance verify ledger` says what was altered; ranges go on, and live checkpoints wait",
        )

    # --- signing ---------------------------------------------------------------------------------------------------

    def _advance(self, shard: ProvedShard, trees: _Trees, end: int) -> bool:
        shown_offset = -1 if trees.shown is None else trees.shown.next_offset
        if end <= trees.next_offset and trees.next_offset <= shown_offset:
            self._told_of(shard, end, shown_offset)
            return False
        # 1. GROW. In memory alone: a crash, or the next owner, begins again at the last closed range.
        grown = self._grow(shard, trees, trees.growing.drain(), max(end, trees.next_offset))
        # 2. SIGN. Nothing is shown yet. What a later prover signed stays: it is further.
        live = self._signed(shard, trees, grown) if trees.next_offset > shown_offset else None
        # 3. KEEP. One transaction: before its COMMIT nobody sees the checkpoint, after it every receipt may use it.
        if not self._keep(shard, trees, grown, live):
            trees.shown = self._tiles.live(shard.number)  # a later prover's stands there, or a new epoch began
            return False
        trees.shown = live or trees.shown
        self._told_of(shard, trees.next_offset, -1 if trees.shown is None else trees.shown.next_offset)
        return live is not None or any(it.tiles for it in grown)

    def _told_of(self, shard: ProvedShard, end: int, shown_offset: int) -> None:
        """Nothing waits when both end at one offset. A checkpoint beyond the record keeps the age growing."""
        if end == shown_offset:
            self._covered[shard.number] = self._monotonic()

    def _keep(self, shard: ProvedShard, trees: _Trees, grown: Sequence[Growth], live: LiveCheckpoint | None) -> bool:
        try:
            return self._tiles.keep(shard.number, grown, live, self._guard.epoch_no)
        except ValueError as error:
            self._refuse(shard, trees, str(error))
            return False

    def _grow(self, shard: ProvedShard, trees: _Trees, leaves: Sequence[bytes], end: int) -> list[Growth]:
        begin = trees.next_offset
        silent = end - begin - len(leaves)
        lines = self._store.verdict_lines(shard.number, begin, end) if silent else []
        if len(lines) != silent:
            raise Corrupt(
                f"shard {shard.number}, offsets {begin}..{end - 1}: {len(leaves)} entries and {len(lines)} verdicts "
                f"leave {silent - len(lines)} offsets unaccounted for"
            )
        entries, verdicts = trees.entries.extend(leaves), trees.verdicts.extend(map(leaf_hash, lines))
        return [
            Growth("entries", entries, trees.entries.edge_tiles()),
            Growth("verdicts", verdicts, trees.verdicts.edge_tiles()),
        ]

    def _signed(self, shard: ProvedShard, trees: _Trees, grown: Sequence[Growth]) -> LiveCheckpoint | None:
        """None: the signer is away, or a witness waits for what was lost; it is tried again."""
        if not self._signers.ready:
            return None
        origin = origin_of(self._domain, self._env, shard.number)
        text = record_text(origin, trees.base.first_offset, trees.entries.compact(), trees.verdicts.compact())
        read = overlaid(grown[0], self._tiles.reader(shard.number, "entries"))
        old_size = 0 if trees.shown is None else trees.shown.size
        try:
            lines = note_lines(self._signers, text, TiledHistory(shard.number, trees.entries.size, old_size, read))
        except SignerAway:
            return None  # logged and counted
        except SignerRefused as error:
            if error.failure is not SignerFailure.WITNESS:
                raise
            log.warning("checkpoint.refused", shard=shard.number, message=error.message, remedy=error.remedy)
            return None
        return LiveCheckpoint(trees.entries.size, trees.verdicts.size, trees.next_offset, b"\n".join([text, lines]))
