"""Replay: the settlements topic again, through the same posting code, into another database.

  1. READ a batch of the partition       nothing changes
  2. DECIDE on the records alone         pure: the rules of the version asked for
  3. PLAN in a transaction on the head   the poster's own transaction (`PosterStore.batch`); a crash rolls it back
  4. COMMIT                              the commit point: the target's head is the only cursor

Guarantees: what is decided, sequenced and written is decided, sequenced and written by the poster's code, so the same
records give the same bytes; killed anywhere and run again, it goes on from the target's head. A verdict that depends on
another shard takes the one fact "who came first" from the verdict log, is counted and reported; without a log it is
Refused, never guessed.
Does not: publish anything, or note as relayed what the journal topic does not surely hold: a poster that goes on from
here relays the rest, and readers skip what they have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from consumers.posting.batch_transaction import post_batch
from consumers.posting.decision import Decide, decisions, set_aside
from consumers.posting.first_verdicts import FirstVerdicts
from ledger_core.books.rule_versions import RuleSet, unknown_rules
from ledger_core.errors import Unreadable
from ledger_core.ports import Record
from ledger_core.posting.plans import Decided, Draft, Known, ShardHead
from ledger_core.posting.sequencing import event_ids, sequence
from ledger_core.posting.store_port import PosterStore
from ledger_core.recovery.replay_port import StopAt, VerdictLog


class RecordReader(Protocol):
    """`consumers.kafka.partition_reader.PartitionReader`."""

    @property
    def done(self) -> bool: ...

    def read(self, records_max: int) -> list[Record]: ...

    def pass_over(self, end: int) -> None: ...


class ShardReplay:
    """One shard of a replay into a database. `journal_seq`: the newest entry that the journal topic surely holds."""

    def __init__(
        self,
        head: ShardHead,
        *,
        reader: RecordReader,
        store: PosterStore,
        log: VerdictLog | None,
        decide: Decide,
        stop: StopAt,
        batch_records_max: int,
        journal_seq: int = 0,
    ) -> None:
        self.head = head
        self.from_log = 0  # verdicts that took from the log who came first
        self.stopped = stop.seq is not None and head.seq >= stop.seq
        self._reader = reader
        self._store = store
        self._log = log
        self._decide = decide
        self._stop = stop
        self._batch_records_max = batch_records_max
        self._journal_seq = journal_seq

    def step(self) -> int:
        """Take one batch; how many offsets it moved the head. 0: the end.

        Raises Unavailable (run it again), Refused (undecidable without a log, the target is another ledger, or rules
        are in force that this version does not know), Fenced (another process moved the head), Corrupt.
        """
        if self.stopped or self._reader.done:
            return 0
        # 1. READ. Nothing changes: a run that was killed reads on from the target's head.
        try:
            records = self._reader.read(self._batch_records_max)
        except Unreadable as found:
            batch = self._set_aside(found)
        else:
            # 2. DECIDE. Pure: the same records give the same decisions at every run.
            batch = list(decisions(self._wanted(records), self.head.rules, self._decide))
            if records and not batch and not self.stopped:
                raise unknown_rules(self.head.rules)
        if not batch:
            return 0
        before = self.head.next_offset
        post_batch(lambda: self.head, batch, self._commit)
        return self.head.next_offset - before

    def _set_aside(self, found: Unreadable) -> list[Decided]:
        """What the log says was set aside there, and the reader behind it. Raises `found` where it does not say so."""
        first = max(found.offset, self.head.next_offset)
        end = first if self._log is None else self._log.set_aside_end(self.head.shard, first)
        if end == first:
            raise found
        self._reader.pass_over(end)
        aside = [set_aside(self.head.topic, self.head.shard, offset) for offset in range(first, end)]
        wanted = {record.offset for record in self._wanted([item.record for item in aside])}
        return [item for item in aside if item.record.offset in wanted]

    def _wanted(self, records: Sequence[Record]) -> Sequence[Record]:
        stop_ms = None if self._stop.time is None else int(self._stop.time.timestamp() * 1000)
        for number, record in enumerate(records):
            beyond = self._stop.offset is not None and record.offset >= self._stop.offset
            if beyond or (stop_ms is not None and record.timestamp_ms >= stop_ms):
                self.stopped = True
                return records[:number]
        return records

    def _commit(self, head: ShardHead, batch: Sequence[Decided], *, alone: bool, upto: int | None = None) -> None:
        """The poster's transaction, with one difference: who came first may be another shard, as the log says."""
        if self._stop.seq is not None and head.seq >= self._stop.seq:
            return  # a piece before this one held the entry at which the replay stops
        compared, named = event_ids(batch)
        next_offset = batch[-1].record.offset + 1 if upto is None else upto
        taken = self._log.taken_elsewhere(head.shard, head.next_offset, next_offset) if self._log else {}
        covered = self._log is not None and self._log.covers(head.shard) >= next_offset
        knows_first = bool(self._log and self._log.knows_first)
        # Everything below the head was relayed once, if the journal topic holds the entry there.
        relayed = head.next_offset if head.seq and head.seq <= self._journal_seq else head.relayed_offset

        # 3. PLAN. On the very head of the target; a crash inside rolls back, and the next run plans the same again.
        with self._store.batch(head, alone=alone) as tx:
            first = FirstVerdicts(head.shard, tx.look_up(compared, named), taken, knows_first=knows_first)
            plan = first.settled(first.plan(head, self._cut(head, batch, first), upto=upto), covered=covered)
            told = first.told(plan)
            plan = tx.write(plan, relayed_offset=relayed)
        # 4. COMMIT. A crash before: nothing happened; after: the target's head says so, and the next run goes on there.
        self.head = plan.after
        self.from_log += len(told)

    def _cut(self, head: ShardHead, batch: Sequence[Decided], first: FirstVerdicts) -> Sequence[Decided]:
        """The batch up to the entry at which the replay stops."""
        if self._stop.seq is None:
            return batch
        plan = first.plan(head, batch)
        if plan.after.seq < self._stop.seq:
            return batch
        self.stopped = True
        last = plan.posted[self._stop.seq - head.seq - 1].record.offset
        return [item for item in batch if item.record.offset <= last]


def same_newest_entry(
    head: ShardHead, prev_hash: bytes | None, record: Record, rules: RuleSet, decide: Decide
) -> bytes | None:
    """The entry hash that `rules`, which the newest entry names, give its record; None when they post nothing."""
    before = ShardHead(
        shard=head.shard,
        topic=head.topic,
        first_offset=record.offset,
        next_offset=record.offset,
        seq=head.seq - 1,
        head_hash=prev_hash,
        accounts=0,
        posted=head.seq - 1,
        duplicates=0,
        rejected=0,
        relayed_offset=record.offset,
        rules=rules.number,
    )
    item = decide(record, rules)
    known: dict[str, Known] = {}
    if isinstance(item.outcome, Draft) and item.outcome.reverses is not None:
        known[item.outcome.reverses] = Known(head.shard, 1, b"")  # posted here: or there would be no entry
    plan = sequence(before, [item], known)
    return plan.posted[0].entry_hash if plan.posted else None
