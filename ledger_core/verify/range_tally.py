"""Checking a range of one shard against the proof that speaks of it.

Guarantees: everything a proof says of entries and offsets is recomputed from the entries and verdict lines
themselves: chain, tree, totals, times, counts, and that entries and verdicts together cover each offset of
`[first_offset, next_offset)` exactly once (G3). What the position before the range does not know (a batch that is
checked alone) is counted as unchecked, never passed silently. It does not check signatures: see `verify_proof`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from ledger_core.books.entry_checks import Block, RulesRun, check_block, check_lines
from ledger_core.books.rule_versions import FIRST_RULES
from ledger_core.chain import link_all
from ledger_core.findings import Collector
from ledger_core.posting.verdicts import VerdictLine, activated_rules, check_verdict, decode_verdict, verdicts_hash
from ledger_core.proving.range_proof import ProofPayload, ShardRange
from ledger_core.tree import CompactRange, leaf_hashes

FIRST_OFFSET: Final = 0  # of the settlements partition: where every shard begins
END: Final = 2**63  # after every offset
PLACES_NAMED_MAX: Final = 5  # offsets, or runs of them, named in one finding


@dataclass(slots=True)
class Position:
    """Where a shard's history stands before its next range. None: not known (but `seq` 0 makes head and tree known).

    `head` is b"" at genesis. `prev_proof_hash` is "" before the first proof.
    """

    shard: int
    seq: int = 0
    head: bytes | None = None
    tree: CompactRange | None = None
    next_offset: int | None = None
    topic: str | None = None
    prev_proof_hash: str | None = None
    rules: int | None = None  # posting rules in force
    verdicts: CompactRange | None = None  # the tree of the verdict lines

    def __post_init__(self) -> None:
        if self.seq == 0:
            self.head = b""
            self.tree = self.tree or CompactRange()

    @classmethod
    def genesis(cls, shard: int) -> Position:
        """Before the first range of a shard: every shard begins at offset 0, and nothing was proved before it."""
        return cls(shard, next_offset=FIRST_OFFSET, prev_proof_hash="", rules=FIRST_RULES, verdicts=CompactRange())

    def jump(self, seq: int, prev_hash: str | None) -> None:
        """Go on after a gap that was reported: what follows is checked on its own, without the lost history."""
        self.seq = seq
        self.head = bytes.fromhex(prev_hash) if prev_hash is not None else b"" if seq == 0 else None
        self.tree = CompactRange() if seq == 0 else None
        self.next_offset = self.prev_proof_hash = self.rules = self.verdicts = None

    def follow(self, proof_hash: str, part: ShardRange) -> None:
        """Stand behind a proved range as its proof says: a contradiction was reported once, and is not carried on."""
        self.seq = int(part.last_seq)
        self.head = bytes.fromhex(part.head_hash or "")
        if self.tree is not None and self.tree.root().hex() != part.root:
            self.tree = CompactRange() if self.seq == 0 else None
        self.next_offset = int(part.source.next_offset)
        if self.verdicts is not None and self.verdicts.size != self.next_offset - FIRST_OFFSET - self.seq:
            self.verdicts = None
        self.topic = part.source.topic
        self.prev_proof_hash = proof_hash


@dataclass(slots=True)
class RangeTally:
    """What entries and verdict lines of one range add up to. Feed them in order, then `compare` with the proof."""

    position: Position
    found: Collector
    first_seq: int = field(init=False)
    prev: bytes | None = field(init=False)
    offsets: list[int] = field(default_factory=list)
    verdicts: list[VerdictLine] = field(default_factory=list)
    verdict_lines: list[bytes] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    from_ts: str | None = None
    to_ts: str | None = None
    topics: set[str] = field(default_factory=set)
    rules: list[RulesRun] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first_seq = self.position.seq + 1
        self.prev = self.position.head

    def add_entries(self, lines: Sequence[bytes], data: bytes | None = None) -> tuple[Block, list[bytes]]:
        """Check the next entries, move the position behind them, and give what they say with their hashes.

        With `data` (the same lines in one piece, each ended by LF) the entries themselves are not given.
        """
        position, first_seq = self.position, self.position.seq + 1
        topic = position.topic or next(iter(self.topics), None)
        if data is not None and topic is not None:
            block = check_lines(lines, data, position.shard, topic, first_seq, self.found)
        else:
            block = check_block(lines, position.shard, first_seq, self.found, data)
        hashes = link_all(lines, position.head or None)
        if hashes:
            position.head = hashes[-1]
        if position.tree is not None:
            position.tree = position.tree.extend(leaf_hashes(lines))
        position.seq += len(lines)
        self.offsets += block.offsets
        for currency, debits in block.totals.items():
            self.totals[currency] = self.totals.get(currency, 0) + debits
        self.topics |= block.topics
        self.rules += block.rules
        self.from_ts = min((ts for ts in (self.from_ts, block.from_ts) if ts is not None), default=None)
        self.to_ts = max((ts for ts in (self.to_ts, block.to_ts) if ts is not None), default=None)
        return block, hashes

    def add_verdicts(self, lines: Sequence[bytes]) -> None:
        """Check the next verdict lines of the range."""
        self.found.count("verdicts", len(lines))
        if self.position.verdicts is not None:
            self.position.verdicts = self.position.verdicts.extend(leaf_hashes(lines))
        for line in lines:
            self.verdict_lines.append(line)
            try:
                verdict = decode_verdict(line)
                check_verdict(verdict)
                self.verdicts.append(verdict)
            except ValueError as error:
                self.found.add("verdict.form", f"not a verdict line: {error}: {line[:80]!r}", field="verdict")

    def compare(self, payload: ProofPayload, part: ShardRange) -> None:
        """Compare with what the proof says of this range, finding by finding."""
        position, last_seq = self.position, self.position.seq
        count = last_seq - self.first_seq + 1
        self._equal("shard", part.shard, position.shard)
        self._equal("first_seq", part.first_seq, str(self.first_seq))
        self._equal("last_seq", part.last_seq, str(last_seq))
        if self.prev is not None:
            self._equal("prev_hash", part.prev_hash, self.prev.hex() or None)
        if position.head is not None:
            self._equal("head_hash", part.head_hash, position.head.hex() or None)
        else:
            self.found.count("heads_unchecked")
        if position.tree is not None:
            self._equal("root", part.root, position.tree.root().hex())
        else:
            self.found.count("roots_unchecked")
        self._equal("range.from_ts", payload.range.from_ts, self.from_ts)
        self._equal("range.to_ts", payload.range.to_ts, self.to_ts)
        self._equal("totals", {name: sums.debits for name, sums in payload.totals.items()}, self._total_texts())
        self._equal("num_rows", payload.num_rows, str(count))
        self._compare_source(part, count)
        if position.prev_proof_hash is not None:
            self._equal("prev_proof_hash", payload.prev_proof_hash, position.prev_proof_hash or None)
        self.found.count("ranges")

    def _compare_source(self, part: ShardRange, count: int) -> None:
        source, position = part.source, self.position
        kinds = [verdict.verdict for verdict in self.verdicts]
        self._equal("source.posted", source.posted, str(count))
        self._equal("source.duplicates", source.duplicates, str(kinds.count("duplicate")))
        self._equal("source.rejected", source.rejected, str(kinds.count("rejected")))
        if not self._equal("source.verdicts_hash", source.verdicts_hash, verdicts_hash(self.verdict_lines).hex()):
            position.verdicts = None  # reported once: their tree is not compared with what was signed of others
        if position.next_offset is not None:
            self._equal("source.first_offset", source.first_offset, str(position.next_offset))
        for topic in sorted(self.topics | ({position.topic} if position.topic is not None else set())):
            self._equal("source.topic", source.topic, topic)
        self.check_offsets(int(source.first_offset), int(source.next_offset))

    def check_offsets(self, first: int, following: int) -> None:
        """Find offsets of `[first, following)` that are missing, stand twice, lie outside, or are out of order (G3)."""
        self._check_rules()
        covered = following - first
        if not self.verdicts and len(self.offsets) == covered and self.offsets == list(range(first, following)):
            return  # the ordinary case: every offset posted
        verdict_offsets = [int(verdict.offset) for verdict in self.verdicts]
        for name, offsets in (("entries", self.offsets), ("verdicts", verdict_offsets)):
            if offsets != sorted(offsets):
                self._add("range.offsets", f"the source offsets of the {name} do not ascend", "source.offset")
        have = sorted(self.offsets + verdict_offsets)
        if len(have) == covered and have == list(range(first, following)):
            return
        inside = [offset for offset in have if first <= offset < following]
        gaps = [
            f"{low + 1}"
            if high - low == 2
            else f"{low + 1}..{high - 1}"  # never listed: a proof may claim 10^18 offsets
            for low, high in pairwise([first - 1, *inside, following])
            if high - low > 1
        ]
        repeats = [str(low) for low, high in pairwise(have) if low == high]
        outside = [str(offset) for offset in have if not first <= offset < following]
        for what, named in (("missing", gaps), ("standing twice", repeats), ("outside the range", outside)):
            if named:
                listed = ", ".join(named[:PLACES_NAMED_MAX]) + (", ..." if len(named) > PLACES_NAMED_MAX else "")
                self._add("range.offsets", f"source offsets {what}: {listed}", "source.offset")

    def _check_rules(self) -> None:
        """Find entries that name other posting rules than were in force at their offset, and activations that do not
        follow each other; move the position's rules behind them."""
        position = self.position
        if not self.verdicts and all(run.rules == position.rules for run in self.rules):
            return  # the ordinary case
        steps = sorted(
            (int(verdict.offset), rules)
            for verdict in self.verdicts
            if (rules := activated_rules(verdict.reason)) is not None
        )
        in_force, since = position.rules, -1
        for offset, rules in [*steps, (END, 0)]:
            for run in self.rules:
                low, high = max(run.first_offset, since + 1), min(run.last_offset, offset - 1)
                if low > high or run.rules == in_force:
                    continue
                if in_force is None:  # not known, so that the entries say it
                    in_force = run.rules
                    continue
                message = f"an entry from offset {low} on names rules {run.rules}, and rules {in_force} are in force"
                self._add("range.rules", message, "rules")
            if rules and in_force is not None and rules != in_force + 1:
                message = f"offset {offset} puts rules {rules} in force, where rules {in_force} are"
                self._add("range.rules", message, "rules")
            in_force, since = rules or in_force, offset
        position.rules = in_force

    def _total_texts(self) -> dict[str, str]:
        return {currency: str(total) for currency, total in sorted(self.totals.items())}

    def _equal(self, name: str, said: object, recomputed: object) -> bool:
        """Find that they differ; whether they are equal."""
        if said != recomputed:
            self._add("range." + name.removeprefix("range."), f"the proof says {said}, recomputed {recomputed}", name)
        return said == recomputed

    def _add(self, code: str, message: str, name: str) -> None:
        self.found.add(code, message, shard=self.position.shard, seq=self.position.seq, field=name)
