"""Replay beside the live ledger: what the topic gives, compared with what stands there; nothing is written.

Guarantees: memory does not grow with the ledger: a shard's place is its head, its compact tree and its sums. Entries
are compared byte by byte, verdict lines too; at the end of each signed range head, root, counts and verdicts hash with
the proof. An event id's first verdict is looked up in the ledger and counts only when it lies before the position at
hand; another shard's counts as the log's word on who came first. The first difference of a shard ends that shard.
Does not: compare lines, accounts or columns of the live ledger (`finance verify ledger` derives them from the bodies).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Protocol

from consumers.posting.batch_transaction import HOLE_OFFSETS_MAX
from consumers.posting.decision import Decide, decisions, set_aside
from consumers.recovery.replay import RecordReader
from consumers.recovery.replay_place import ReplayPlace
from ledger_core.books.accounts import account_type
from ledger_core.books.rule_versions import RuleSet, unknown_rules
from ledger_core.errors import Unreadable
from ledger_core.findings import Collector
from ledger_core.ports import Record
from ledger_core.posting.plans import Decided, Known, Plan, ShardHead
from ledger_core.posting.sequencing import event_ids, sequence
from ledger_core.posting.store_port import HeavyLookUp
from ledger_core.recovery.compare_ledgers import differing_field
from ledger_core.recovery.replay_port import StopAt
from ledger_core.tree import leaf_hashes
from ledger_core.verify.ledger_rows import EntryRow, VerdictRow
from ledger_core.verify.signed_parts import SignedPart


class LiveLedger(Protocol):
    """What is asked of the live ledger, in one snapshot. May raise Unavailable."""

    def entries(self, shard: int, first_seq: int, last_seq: int) -> Sequence[EntryRow]: ...

    def verdicts(self, shard: int, first_offset: int, next_offset: int) -> Sequence[VerdictRow]: ...

    def set_aside_end(self, shard: int, offset: int) -> int:
        """As `ledger_core.recovery.replay_port.VerdictLog.set_aside_end`."""
        ...

    def activated(self, shard: int, offset: int) -> bool | None:
        """As `ledger_core.recovery.replay_port.VerdictLog.activated`."""
        ...

    def first_verdicts(self, compared: Sequence[str], named: Sequence[str]) -> Mapping[str, tuple[Known, int]]:
        """Event id -> its first verdict, and where: the seq of what was posted, the offset of what was rejected. Of the
        `compared` ones that are posted with the body. Raises HeavyLookUp."""
        ...


class BesideShard:
    """The comparison of one shard. `take` it range by range, in order, then once more up to the end."""

    def __init__(
        self,
        place: ReplayPlace,
        *,
        reader: RecordReader,
        live: LiveLedger,
        decide: Decide,
        stop: StopAt,
        batch_records_max: int,
        found: Collector,
    ) -> None:
        self.place = place
        self.from_log = 0
        self.stopped = False  # at a difference, at the point asked for, or at the end
        self._reader = reader
        self._live = live
        self._decide = decide
        self._stop = stop
        self._batch_records_max = batch_records_max
        self._found = found
        self._waiting: list[Record] = []
        self._aside = range(0)  # the offsets that could not be read, and that the ledger rejected as such
        self._range = _RangeSums(place.head, whole=True)

    def step(self, end_offset: int) -> bool:
        """Compare one batch below `end_offset`; False when everything below it is, or the shard has stopped. Raises
        UnknownRules before what such rules judged."""
        if self.stopped:
            return False
        if not self._waiting:
            self._waiting = self._read()
        if not self._waiting:
            self.stopped = True
            return False
        batch = [record for record in self._waiting if record.offset < end_offset]
        stop_seq = self._stop.seq
        if stop_seq is not None:
            batch = batch[: max(0, stop_seq - self.place.head.seq)]  # an entry needs a record: never one too many
        wanted = self._before_stop(batch)
        self._waiting = self._waiting[len(batch) :]
        if wanted:
            self._compare(wanted)
        reached = stop_seq is not None and self.place.head.seq >= stop_seq
        self.stopped = self.stopped or reached or len(wanted) < len(batch)
        return bool(batch) and not self.stopped

    def _read(self) -> list[Record]:
        """The next records; where nothing can be read, the offsets that the ledger says were set aside, each without
        key and value. Raises Unreadable where it does not say so."""
        try:
            return self._reader.read(self._batch_records_max)
        except Unreadable as found:
            head = self.place.head
            first = max(found.offset, head.next_offset)
            end = self._live.set_aside_end(head.shard, first)
            if end == first:
                raise
            self._reader.pass_over(end)
            self._aside = range(first, end)
            return [set_aside(head.topic, head.shard, offset).record for offset in self._aside]

    def _verdict_of(self, record: Record, rules: RuleSet) -> Decided:
        if record.offset in self._aside:
            return set_aside(record.topic, record.partition, record.offset)
        return self._decide(record, rules)

    def close_range(self, signed: SignedPart | None) -> None:
        """The range that began at the last call ends here: compare with its proof, if there is one."""
        if signed is not None:
            self._range.compare(self.place, signed, self._found)
        ends_here = signed is None or int(signed.part.source.next_offset) == self.place.head.next_offset
        self._range = _RangeSums(self.place.head, whole=ends_here)

    def _before_stop(self, batch: list[Record]) -> list[Record]:
        stop = self._stop
        if stop.offset is not None:
            batch = [record for record in batch if record.offset < stop.offset]
        if stop.time is not None:
            stop_ms = int(stop.time.timestamp() * 1000)
            batch = [record for record in batch if record.timestamp_ms < stop_ms]
        return batch

    def _compare(self, records: Sequence[Record]) -> None:
        offset = records[0].offset
        while not self.stopped and offset - self.place.head.next_offset > HOLE_OFFSETS_MAX:
            self._compare_batch([], upto=self.place.head.next_offset + HOLE_OFFSETS_MAX)
        if not self.stopped:
            batch = list(decisions(records, self.place.head.rules, self._verdict_of))
            if not batch:
                raise unknown_rules(self.place.head.rules)
            self._waiting = [*records[len(batch) :], *self._waiting]  # behind rules that are not known
            self._compare_batch(batch)

    def _compare_batch(self, batch: Sequence[Decided], *, upto: int | None = None) -> None:
        head = self.place.head
        try:
            known, foreign = self._known(head, *event_ids(batch))
        except HeavyLookUp:  # the same in halves: each is read and let go
            middle = len(batch) // 2
            self._compare_batch(batch[:middle])
            if not self.stopped:
                self._compare_batch(batch[middle:], upto=upto)
            return
        plan = sequence(head, batch, known, upto=upto)
        before = len(self._found)
        self._compare_entries(plan)
        self._compare_verdicts(plan)
        if len(self._found) > before:
            self.stopped = True
            return
        self.from_log += sum(v.kind == "rejected" and v.event_id in foreign for v in plan.verdicts)
        self._advance(plan)

    def _known(
        self, head: ShardHead, compared: Sequence[str], named: Sequence[str]
    ) -> tuple[dict[str, Known], set[str]]:
        known: dict[str, Known] = {}
        foreign: set[str] = set()
        for event_id, (first, at) in self._live.first_verdicts(compared, named).items():
            if first.shard != head.shard:
                foreign.add(event_id)
            elif at > head.seq if first.is_posted else at >= head.next_offset:
                continue  # not yet, at this position
            known[event_id] = first
        return known, foreign

    def _compare_entries(self, plan: Plan) -> None:
        shard, first_seq, last_seq = plan.before.shard, plan.before.seq + 1, plan.after.seq
        rows = self._live.entries(shard, first_seq, last_seq) if plan.posted else []
        for entry, row in zip_longest(plan.posted, rows):
            if entry is None or row is None:
                what = "is not in the ledger" if row is None else "is in the ledger alone"
                seq = entry.seq if entry is not None else row.seq
                self._found.add("replay.entry", f"the first difference: this entry {what}", seq=seq, field="seq")
                return
            if (entry.body, entry.entry_hash) != (row.body, row.entry_hash):
                name, said, wanted = differing_field(entry.body, row.body)
                message = f"the first difference: {name} is {said}, the ledger has {wanted}"
                place = f"offset {entry.record.offset}"
                silent = next((v for v in plan.verdicts if v.offset == row.source_offset), None)
                if silent is not None:  # what follows differs because of that one
                    message = f"the first difference: it is {silent.kind} ({silent.reason}), the ledger posted it"
                    name, place = "verdict", f"offset {silent.offset}"
                self._found.add("replay.entry", message, seq=entry.seq, field=name, place=place)
                return
        self._found.count("entries_compared", len(plan.posted))

    def _compare_verdicts(self, plan: Plan) -> None:
        rows = self._live.verdicts(plan.before.shard, plan.before.next_offset, plan.after.next_offset)
        for verdict, row in zip_longest(plan.verdicts, rows):
            if verdict is not None and row is not None and verdict.line == row.line:
                continue
            offsets = [] if verdict is None else [verdict.offset]
            offset = min(offsets if row is None else [*offsets, row.source_offset])
            said = verdict.kind if verdict is not None and verdict.offset == offset else "posted"
            wanted = row.verdict if row is not None and row.source_offset == offset else "posted"
            message = f"the first difference: offset {offset} is {said}, the ledger has {wanted}"
            self._found.add("replay.verdict", message, field="verdict", place=f"offset {offset}")
            return
        self._found.count("verdicts_compared", len(plan.verdicts))

    def _advance(self, plan: Plan) -> None:
        place = self.place
        place.tree = place.tree.extend(leaf_hashes([entry.body for entry in plan.posted]))
        for entry in plan.posted if place.whole else ():
            for account, side, amount, currency, _memo in entry.draft.lines:
                pair = place.sums.setdefault(f"{currency} {account_type(account)}", [0, 0])
                pair[side == "credit"] += amount
        place.head = plan.after
        for verdict in plan.verdicts:
            self._range.lines.update(verdict.line + b"\n")


class _RangeSums:
    """What one signed range adds up to. `whole`: it began where the range before it ended."""

    def __init__(self, before: ShardHead, *, whole: bool) -> None:
        self.before = before
        self.whole = whole
        self.lines = hashlib.sha256()

    def compare(self, place: ReplayPlace, signed: SignedPart, found: Collector) -> None:
        part, head, before = signed.part, place.head, self.before
        if not self.whole or int(part.source.next_offset) != head.next_offset:
            # A range that ends between offsets without a record: at its end nothing is known.
            found.count("signed_ranges_not_compared")
            return
        found.count("signed_ranges_compared")
        told = [
            ("last_seq", part.last_seq, str(head.seq)),
            ("head_hash", part.head_hash, None if head.head_hash is None else head.head_hash.hex()),
            ("posted", part.source.posted, str(head.posted - before.posted)),
            ("duplicates", part.source.duplicates, str(head.duplicates - before.duplicates)),
            ("rejected", part.source.rejected, str(head.rejected - before.rejected)),
            ("verdicts_hash", part.source.verdicts_hash, self.lines.hexdigest()),
            ("root", part.root, place.tree.root().hex()),
        ]
        for name, wanted, said in told:
            if wanted != said:
                message = f"{name} is {said}, proof {signed.proof_id} has {wanted}"
                found.add("replay.proof", message, seq=head.seq, field=name)
