"""Checking the ledger in the database: every entry, line, account, balance, verdict, range, proof and checkpoint.

Guarantees: chain, tree, balances and counts are recomputed from the bodies and compared with every row that repeats
them, with the shard's head, with the closed ranges, and with what was signed. So a superuser who edits one row is
found and named, and one who rewrites a whole chain consistently still contradicts the signed proofs and checkpoints.
Without any signed statement and without `expected` heads, a ledger replaced as a whole cannot be distinguished from the
true one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ledger_core.books.rule_versions import FIRST_RULES
from ledger_core.findings import Collector, Report
from ledger_core.proving import checkpoint
from ledger_core.proving.tiles import TREES, TreeName
from ledger_core.signing.registry import SignerRegistry
from ledger_core.tree import CompactRange
from ledger_core.verify.ledger_fold import RowFold, compare_verdicts, locate_break
from ledger_core.verify.ledger_ranges import RangeChecks
from ledger_core.verify.ledger_rows import EntryRow, LedgerReader, RangeRow, ShardRow
from ledger_core.verify.range_tally import FIRST_OFFSET, Position, RangeTally
from ledger_core.verify.statements import check_note, check_proof
from ledger_core.verify.tiles.kept import kept_root

BLOCK_ENTRIES = 2_000  # rows fetched at once: a few megabytes with their lines
BLOCK_BYTES = 8 * 1024 * 1024  # likewise, of their bodies
TAIL_ENTRIES = 10_000  # entries after the newest closed range are accounted for in pieces of this size
TAIL_OFFSETS = 50_000


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """What the ledger must say at `seq` of a shard: from a proof or checkpoint somebody kept, outside the database."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    seq: int
    head_hash: bytes | None = None  # entry hash at seq, 32 bytes; None: not compared
    root: bytes | None = None  # Merkle root of entries 1..seq, 32 bytes; None: not compared
    place: str = "an expected head"  # where it was kept; stands in the finding
    tree: TreeName = "entries"  # of the verdict lines, `seq` is their number


def check_ledger(reader: LedgerReader, registry: SignerRegistry, *, expected: Sequence[LedgerHead] = ()) -> Report:
    """Check everything the reader shows. Raises what the reader raises."""
    found = Collector()
    heads: dict[int, list[LedgerHead]] = {}
    live = _live_heads(reader, registry, found)
    for head in itertools.chain(expected, _operator_heads(reader, registry, found), live):
        heads.setdefault(head.shard, []).append(head)
    rows = reader.shards()
    seen = {"entries": 0, "lines": 0, "accounts": 0, "balances": 0, "verdicts": 0}
    for row in rows:
        found.shard = row.shard
        heads.setdefault(row.shard, []).extend(_kept_heads(reader, row.shard, found))
        _ShardCheck(reader, registry, found, row, heads.pop(row.shard, []), seen).run()
    found.shard = found.place = None
    for head in itertools.chain.from_iterable(heads.values()):
        found.add("ledger.truncated", f"{head.place} speaks of a shard that is gone", shard=head.shard, seq=head.seq)
    for table, count in reader.totals().items():
        if table in seen and count != seen[table]:
            message = f"{count} rows in {table}, {seen[table]} belong to the shards' chains"
            found.add("ledger.strays", message, field=table)
    for name, count in reader.not_held().items():
        if count:  # a rebuilt ledger: nothing of it is proved, so nothing contradicts
            found.count(f"{name}_not_held", count)
    if not rows:
        found.count("shards", 0)
    return found.report()


def _operator_heads(reader: LedgerReader, registry: SignerRegistry, found: Collector) -> Iterator[LedgerHead]:
    """The places that operators' proofs speak of, after checking the proofs themselves."""
    for data in reader.operator_proofs():
        found.count("operator_proofs")
        proof = check_proof(data, registry, found)
        for part in proof.shards if proof is not None else ():
            place = f"proof {proof.proof_id}" if proof is not None else ""
            before = bytes.fromhex(part.prev_hash or "")
            yield LedgerHead(part.shard, int(part.first_seq) - 1, before, None, place)
            head = bytes.fromhex(part.head_hash or "")
            yield LedgerHead(part.shard, int(part.last_seq), head, bytes.fromhex(part.root), place)


def _live_heads(reader: LedgerReader, registry: SignerRegistry, found: Collector) -> Iterator[LedgerHead]:
    """The places that live checkpoints speak of. One of a key that was revoked meanwhile counts for nothing, and gives
    way to the next."""
    for shard, note in reader.live_notes():
        found.shard, found.place = shard, "live checkpoint"
        beside = Collector(shard, found.place)
        kept = check_note(note, registry, beside)
        if kept is not None and len(beside):
            found.count("live_checkpoints_of_ended_keys")
            continue
        found.absorb(beside)
        if kept is not None:
            place, record = f"the live checkpoint of shard {shard}", kept.record
            yield LedgerHead(shard, kept.size, None, kept.root, place)
            yield LedgerHead(shard, record.verdict_count, None, record.verdict_root, place, "verdicts")
    found.shard = found.place = None


def _kept_heads(reader: LedgerReader, shard: int, found: Collector) -> Iterator[LedgerHead]:
    """The places that the tiles of a shard lead to, after checking them on their own."""
    for tree in TREES:
        root = kept_root(reader, shard, tree, found)
        if root is not None:
            yield LedgerHead(shard, root[0], None, root[1], f"what is kept in tiles of shard {shard}", tree)


class _ShardCheck:
    """One shard from genesis to its head row."""

    def __init__(
        self,
        reader: LedgerReader,
        registry: SignerRegistry,
        found: Collector,
        row: ShardRow,
        heads: Sequence[LedgerHead],
        seen: dict[str, int],
    ) -> None:
        self.reader, self.found, self.row, self.seen = reader, found, row, seen
        self.position = Position(
            row.shard,
            next_offset=row.first_offset,
            topic=row.topic,
            prev_proof_hash="",
            rules=FIRST_RULES,
            verdicts=CompactRange(),
        )
        self.fold = RowFold(row.shard, found)
        self.ranges = RangeChecks(row.shard, registry, found, checkpoints=iter(reader.checkpoints(row.shard)))
        self.heads: dict[int, list[LedgerHead]] = {}
        self.verdict_heads: dict[int, list[LedgerHead]] = {}  # by the number of verdict lines
        for head in heads:
            (self.heads if head.tree == "entries" else self.verdict_heads).setdefault(head.seq, []).append(head)
        self.counts = {"posted": 0, "duplicate": 0, "rejected": 0}
        self.missing = False

    def run(self) -> None:
        row, found = self.row, self.found
        found.count("shards")
        self._compare_heads()
        for range_row in self.reader.ranges(row.shard):
            found.place = f"range {range_row.range_no}"
            self._check_range(range_row)
        found.place = None
        self._check_tail()
        self.ranges.finish(self.row.seq)
        found.place = None
        self._check_head_row()
        self.seen["accounts"] += self.fold.compare_accounts(self.reader.accounts(row.shard))
        self.seen["balances"] += self.fold.compare_balances(self.reader.balances(row.shard))
        self.seen["lines"] += self.fold.lines
        for seq, heads in self.heads.items():
            for head in heads if seq > row.seq else ():
                found.add("ledger.truncated", f"{head.place} reaches seq {seq}, the shard ends at {row.seq}", seq=seq)
        verdicts = sum(count for kind, count in self.counts.items() if kind != "posted")
        for number, heads in self.verdict_heads.items():
            for head in heads if number > verdicts else ():
                message = f"{head.place} reaches verdict {number}, the shard has {verdicts}"
                found.add("ledger.truncated", message, field="verdicts")

    def _check_range(self, range_row: RangeRow) -> None:
        position = self.position
        if range_row.first_seq != position.seq + 1 or range_row.last_seq > self.row.seq:
            message = f"covers {range_row.first_seq}..{range_row.last_seq} after {position.seq}, head {self.row.seq}"
            self.found.add("ledger.range", message, seq=range_row.first_seq, field="first_seq")
        tally = RangeTally(position, self.found)
        self._take(tally, range_row.last_seq, range_row.first_offset, range_row.next_offset)
        self.ranges.check(range_row, tally, whole=not self.missing)
        self.missing = False

    def _check_tail(self) -> None:
        """Entries and verdicts after the newest closed range, in bounded pieces."""
        row, position = self.row, self.position
        while position.seq < row.seq or (position.next_offset or 0) < row.next_offset:
            before = (position.seq, position.next_offset)
            first_offset = position.next_offset if position.next_offset is not None else row.first_offset
            last_seq = min(position.seq + TAIL_ENTRIES, row.seq)
            tally = RangeTally(position, self.found)
            self._take(tally, last_seq, first_offset, None)
            end = row.next_offset
            if last_seq < row.seq and tally.offsets:
                end = tally.offsets[-1] + 1
            for low in range(first_offset, end, TAIL_OFFSETS):
                self._take_verdicts(tally, low, min(low + TAIL_OFFSETS, end))
            if not self.missing:
                tally.check_offsets(first_offset, end)
            self.missing = False
            position.next_offset = end
            self.found.count("entries_not_proved_yet", len(tally.offsets))
            if (position.seq, position.next_offset) == before:
                break

    def _take(self, tally: RangeTally, last_seq: int, first_offset: int, next_offset: int | None) -> None:
        position = self.position
        while position.seq < last_seq and not self.missing:
            upto = min(position.seq + BLOCK_ENTRIES, last_seq)
            wanted = range(position.seq + 1, upto + 1)
            rows = self.reader.entries(self.row.shard, wanted[0], upto, BLOCK_BYTES)
            self.seen["entries"] += len(rows)
            if sum(len(row.body) for row in rows) >= BLOCK_BYTES:  # there may be more, and they come next
                upto = rows[-1].seq
                wanted = range(wanted[0], upto + 1)
            if [row.seq for row in rows] != list(wanted):
                self._report_missing(rows, wanted, last_seq)
                break
            cuts = sorted({seq for seq in self.heads if wanted[0] <= seq < upto} | {position.seq, upto})
            for low, high in pairwise(cuts):
                self._take_rows(tally, rows[low + 1 - wanted[0] : high + 1 - wanted[0]])
        if next_offset is not None:
            self._take_verdicts(tally, first_offset, next_offset)

    def _take_rows(self, tally: RangeTally, rows: Sequence[EntryRow]) -> None:
        position = self.position
        prev = position.head
        block, hashes = tally.add_entries([row.body for row in rows])
        if hashes != [row.entry_hash for row in rows]:
            locate_break(rows, prev, position.shard, self.found)
            position.head = rows[-1].entry_hash
        self.fold.take(rows, block.entries, self.reader.lines(position.shard, rows[0].seq, rows[-1].seq))
        self.counts["posted"] += len(rows)
        self._compare_heads()

    def _take_verdicts(self, tally: RangeTally, first_offset: int, next_offset: int) -> None:
        rows = self.reader.verdicts(self.row.shard, first_offset, next_offset)
        self.seen["verdicts"] += len(rows)
        before = len(tally.verdicts)
        self._compare_verdict_heads()
        have = 0 if self.position.verdicts is None else self.position.verdicts.size
        cuts = sorted({n - have for n in self.verdict_heads if have < n < have + len(rows)} | {0, len(rows)})
        for low, high in pairwise(cuts):
            tally.add_verdicts([row.line for row in rows[low:high]])
            self._compare_verdict_heads()
        compare_verdicts(rows, tally.verdicts[before:], self.found)
        for row in rows:
            self.counts[row.verdict] = self.counts.get(row.verdict, 0) + 1

    def _report_missing(self, rows: Sequence[EntryRow], wanted: range, last_seq: int) -> None:
        """Rows are gone: name them, and go on behind this range, whose entries add up to nothing now."""
        have = [row.seq for row in rows]
        for seq in sorted(set(wanted) - set(have)):
            self.found.add("ledger.entry", "this entry is missing", seq=seq, field="seq")
        for low, high in pairwise(have):
            if low == high:  # no primary key allows it, a damaged index does
                self.found.add("ledger.entry", "this entry stands twice", seq=low, field="seq")
        self.missing, self.fold.whole = True, False
        self.fold.lines += len(self.reader.lines(self.row.shard, wanted[0], last_seq))
        if last_seq > wanted[-1]:
            self.seen["entries"] += len(self.reader.entries(self.row.shard, wanted[-1] + 1, last_seq))
        final = self.reader.entries(self.row.shard, last_seq, last_seq)
        self.position.jump(last_seq, final[0].entry_hash.hex() if final else None)

    def _compare_heads(self) -> None:
        position = self.position
        for head in self.heads.get(position.seq, ()):
            root = position.tree.root() if position.tree is not None else None
            for name, said, have in (("head_hash", head.head_hash, position.head), ("root", head.root, root)):
                if said is not None and have is not None and said != have:
                    message = f"{head.place} says {name} {said.hex()}, the ledger has {have.hex()}"
                    self.found.add("ledger.head", message, seq=position.seq, field=name)

    def _compare_verdict_heads(self) -> None:
        tree = self.position.verdicts
        if tree is None:
            return
        for head in self.verdict_heads.pop(tree.size, ()):
            if tree.root() != head.root:
                message = f"{head.place} says another root of {tree.size} verdict lines than the ledger has"
                self.found.add("ledger.head", message, seq=self.position.seq, field="verdict_root")

    def _check_head_row(self) -> None:
        row, position = self.row, self.position
        for name, said, recomputed in (
            ("head_hash", (row.head_hash or b"").hex(), (position.head or b"").hex()),
            ("first_offset", row.first_offset, FIRST_OFFSET),
            ("seq", row.seq, position.seq),
            ("next_offset", row.next_offset, position.next_offset),
            ("accounts", row.accounts, len(self.fold.numbers) if self.fold.whole else row.accounts),
            ("posted", row.posted, self.counts["posted"] if self.fold.whole else row.posted),
            ("duplicates", row.duplicates, self.counts["duplicate"]),
            ("rejected", row.rejected, self.counts["rejected"]),
            ("rules", row.rules, position.rules if position.rules is not None else row.rules),
        ):
            if said != recomputed:
                message = f"the shard row says {said}, recomputed {recomputed}"
                self.found.add("ledger.shard", message, seq=row.seq, field=name)


def head_of_checkpoint(note: bytes, registry: SignerRegistry, shard: int) -> LedgerHead:
    """An expected head out of a checkpoint somebody kept. Raises ValueError when the note does not verify."""
    kept, _ = checkpoint.parse_and_verify(note, registry)
    return LedgerHead(shard, kept.size, None, kept.root, f"checkpoint {kept.origin} at {kept.size}")
