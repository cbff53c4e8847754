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

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from consumers.posting.batch_transaction import post_batch
from ledger_core.errors import Refused, RejectReason
from ledger_core.ports import Record
from ledger_core.posting.plans import Decided, Draft, Known, Plan, Rejection, ShardHead, Verdict
from ledger_core.posting.sequencing import event_ids, sequence
from ledger_core.posting.store_port import PosterStore
from ledger_core.recovery.replay_port import StopAt, VerdictLog

Decide = Callable[[Record], Decided]
"""The posting rules of one version, as far as they need the record alone (`consumers.recovery.rule_sets`)."""


class RecordReader(Protocol):
    """`consumers.kafka.partition_reader.PartitionReader`."""

    @property
    def done(self) -> bool: ...

    def read(self, records_max: int) -> list[Record]: ...


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

        Raises Unavailable (run it again), Refused (undecidable without a log, or the target is another ledger), Fenced
        (another process moved the head), Corrupt.
        """
        if self.stopped or self._reader.done:
            return 0
        # 1. READ. Nothing changes: a run that was killed reads on from the target's head.
        records = self._reader.read(self._batch_records_max)
        # 2. DECIDE. Pure: the same records give the same decisions at every run.
        batch = [self._decide(record) for record in self._wanted(records)]
        if not batch:
            return 0
        before = self.head.next_offset
        post_batch(lambda: self.head, batch, self._commit)
        return self.head.next_offset - before

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


class FirstVerdicts:
    """Who came first, for the event ids of one batch: this shard as far as it has come, or another as the log says."""

    def __init__(
        self,
        shard: int,
        known: Mapping[str, Known],
        taken: Mapping[int, tuple[str, Known]],
        *,
        knows_first: bool,
    ) -> None:
        self.shard = shard
        self.foreign = {event_id: first for event_id, first in known.items() if first.shard != shard}
        self.taken = taken
        self.knows_first = knows_first
        self.known = {event_id: first for event_id, first in known.items() if first.shard == shard}
        self.elsewhere: dict[str, Known] = {}
        if knows_first:
            for event_id, first in taken.values():
                self._take(event_id, first)

    def _take(self, event_id: str, first: Known) -> None:
        if event_id in self.known:
            return
        if not self.knows_first:  # of several lines about one event id, a reversal's says what the first content was
            reason = RejectReason.UNKNOWN_REVERSAL
            same = [known for other, known in self.taken.values() if other == event_id and known.reason == reason]
            first = same[0] if same else first
        # The target may hold the other shard's entry already: its body says more than the log's line.
        foreign = self.foreign.get(event_id)
        self.elsewhere[event_id] = first if foreign is None or not foreign.is_posted else foreign

    def plan(self, head: ShardHead, batch: Sequence[Decided], *, upto: int | None = None) -> Plan:
        """The plan in which no offset posts that the log says was rejected because of another shard."""
        for item in batch:  # a record that is bad by itself is rejected either way: only whose is first may differ
            outcome = item.outcome
            if isinstance(outcome, Rejection) and outcome.event_id in self.foreign:
                self.elsewhere.setdefault(outcome.event_id, self.foreign[outcome.event_id])
        while True:
            plan = sequence(head, batch, {**self.known, **self.elsewhere}, upto=upto)
            offsets = [entry.record.offset for entry in plan.posted if entry.record.offset in self.taken]
            if (
                not self.knows_first
            ):  # then the log's own words are all there is: what differs from them depends on another
                offsets += [v.offset for v in plan.verdicts if v.reason != self._said(v)]
            more = [self.taken[offset] for offset in offsets]
            more = [(event_id, first) for event_id, first in more if event_id not in self.elsewhere]
            if not more:
                return plan
            for event_id, first in more:
                self._take(event_id, first)

    def _said(self, verdict: Verdict) -> str:
        """The reason that the log has at the offset; the verdict's own where it has none."""
        said = self.taken.get(verdict.offset)
        return verdict.reason if said is None else said[1].reason

    def settled(self, plan: Plan, *, covered: bool) -> Plan:
        """The plan, with every event id's first verdict in one shard only. Raises Refused when this shard and another
        one both claim an event id, and nothing says who came first.

        The archive's lines do not say whether a rejection was its event id's first verdict: there the shard that this
        replay came to first has it, no line changes by that, and what the log has as posted is posted all the same.
        """
        claims = [(entry.draft.event_id, entry.record.offset) for entry in plan.posted]
        if covered and not self.knows_first:
            claims = [claim for claim in claims if claim[0] in self.foreign and self.foreign[claim[0]].is_posted]
        verdicts = list(plan.verdicts)
        for number, verdict in enumerate(verdicts):
            if not verdict.first_verdict or verdict.event_id not in self.foreign:
                continue
            said = self.taken.get(verdict.offset)
            if said is not None and not said[1].is_posted and said[1].reason == verdict.reason:
                verdicts[number] = msgspec.structs.replace(verdict, first_verdict=False)
            else:
                claims.append((verdict.event_id, verdict.offset))
        for event_id, offset in claims:
            if event_id in self.foreign:
                raise self._undecided(event_id, offset, covered=covered)
        return msgspec.structs.replace(plan, verdicts=verdicts)

    def _undecided(self, event_id: str, offset: int, *, covered: bool) -> Refused:
        place = (
            f"event id {event_id} is asked for at shard {self.shard}, offset {offset}, and has its verdict in shard "
            f"{self.foreign[event_id].shard} already"
        )
        if covered:
            return Refused(
                f"{place}, where the verdict log does not have it: the target is not a prefix of this ledger",
                remedy="give an empty database to --into",
            )
        return Refused(
            f"{place}: which of them came first is written in no topic, only in the verdict log",
            remedy="name the log with --compare database or --compare archive, and an empty database; where no log "
            "reaches so far, let the poster go on from here: the first commit decides, as always",
        )

    def told(self, plan: Plan) -> list[int]:
        """The offsets of the plan whose verdict took from the log, or the other shard, who came first."""
        return [v.offset for v in plan.verdicts if v.kind == "rejected" and v.event_id in self.elsewhere]


def same_newest_entry(head: ShardHead, prev_hash: bytes | None, record: Record, decide: Decide) -> bytes | None:
    """The entry hash that the rules give the record of the newest entry; None when they post nothing for it."""
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
    )
    item = decide(record)
    known: dict[str, Known] = {}
    if isinstance(item.outcome, Draft) and item.outcome.reverses is not None:
        known[item.outcome.reverses] = Known(head.shard, 1, b"")  # posted here: or there would be no entry
    plan = sequence(before, [item], known)
    return plan.posted[0].entry_hash if plan.posted else None
