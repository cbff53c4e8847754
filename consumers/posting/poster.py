"""The poster: settlement events in, balanced journal entries posted, each event id once and for ever.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. READ a batch of one shard           nothing changes; a crash reads it again
  2. DECIDE on the records alone         pure
  3. WAIT for the relay's barrier        the batch before is acknowledged downstream: `relayed_offset` may move
  4. PLAN in a transaction on the head   look up, sequence, write; a crash rolls it back
  5. COMMIT                              the commit point: entries, balances, verdicts, dead letters, head
  6. RELAY what was committed            a crash publishes it again, from Postgres, on the next assignment
Kafka's own offsets are committed afterwards, for lag tools; nobody reads them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec
import structlog

from consumers.kafka.source import OpenSource
from consumers.metrics import Metrics
from consumers.posting.batch_pieces import pieces
from consumers.posting.batch_report import report_batch
from consumers.posting.batch_transaction import post_batch
from consumers.posting.dead_letter_limit import DeadLetterLimit, DeadLetterLimitReached
from consumers.posting.decision import Judge, decide, decisions, set_aside
from consumers.posting.relay import Relay
from consumers.posting.relay_backlog import RelayBacklog
from consumers.posting.retelling import Planner
from consumers.posting.stops import Stops
from ledger_core.errors import Unreadable
from ledger_core.ports import Record
from ledger_core.posting.plans import Decided, Plan, ShardHead
from ledger_core.posting.sequencing import event_ids, sequence
from ledger_core.posting.store_port import Fenced, Halted, PosterStore, RecordRefused

log = structlog.get_logger("poster")


class PosterLimits(msgspec.Struct, frozen=True):
    """Set by topology.yaml. At most so many records are read at once, after waiting so long for the first; more than
    `dead_letters_max` rejections among the newest `dead_letter_window_records` of a shard halt it."""

    batch_records_max: int = 4000  # in one transaction
    linger_ms: int = 50  # waited out by each read, unless it is full
    dead_letters_max: int = 1000
    dead_letter_window_records: int = 10_000
    slow_seconds: float = 1.0  # a shard waits after a part that rejects something, when half of the limit is used up


class Poster:
    """A service (consumers.service.Service). One thread; shards come and go with the consumer group."""

    name = "poster"

    def __init__(
        self,
        *,
        topic: str,
        open_source: OpenSource,
        store: PosterStore,
        relay: Relay,
        limits: PosterLimits,
        metrics: Metrics,
        plan: Planner = sequence,
        judge: Judge | None = None,
        now: Callable[[], float] = time.time,  # noqa: TID251  (an argument; this is its default)
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._store = store
        self._relay = relay
        self._limits = limits
        self._metrics = metrics
        self._plan = plan
        self._decide = partial(decide, judge=judge)
        self._now, self._monotonic = now, monotonic
        self._heads: dict[int, ShardHead] = {}
        self._published: dict[int, int] = {}  # shard -> all below this offset is published, perhaps not acknowledged
        self._backlog = RelayBacklog(store, relay)
        self._held_back: set[int] = set()  # paused with records read, which are read again
        self._fresh_at: dict[int, float] = {}  # shard -> what the topic took before this moment is handled
        self._sound = True  # the step before ended without a failure
        self._stops = Stops(
            store,
            metrics,
            lambda: DeadLetterLimit(limits.dead_letters_max, limits.dead_letter_window_records),
            limits.slow_seconds,
            monotonic,
        )
        self._source = open_source(self._open_shard, self._close_shard)

    def step(self) -> bool:
        """Read and post one batch of each shard that has something; True when anything was done."""
        self._sound = False
        for shard in self._stops.look(self._heads):
            self._stand_or_go(shard)
        worked = self._relay_backlog()
        # 1. READ. Nothing changes: a crash here, or the next owner, reads the same records again.
        for shard, records in self._poll():
            if self._stops.stopped(shard) or shard in self._backlog:
                self._source.pause(shard)  # assigned during the halt, or relayed first; resuming seeks back
                self._held_back.add(shard)
            else:
                worked = self._take(shard, records) or worked
        if not worked:
            self._settle(self._published)
        self._tell_lag()
        self._sound = True
        return worked

    def close(self) -> None:
        """Leave the group first, so that a successor starts; then note what is acknowledged, if the brokers answer."""
        published = dict(self._published) if self._sound else {}  # leaving the group forgets the shards
        try:
            self._source.close()
            self._settle(published)
        finally:
            self._relay.close()
            self._store.close()

    # --- assignment ---

    def _open_shard(self, shard: int) -> int:
        head = self._store.open_shard(shard, self._topic)
        self._heads[shard] = head = self._relay_again(head)
        self._fresh_at[shard] = self._now()
        self._stops.opened(shard, head.rules)
        log.info("poster.shard_opened", shard=shard, seq=head.seq, next_offset=head.next_offset)
        return head.next_offset

    def _relay_again(self, head: ShardHead) -> ShardHead:
        """A piece of what the topics may lack. Until there is no more, the shard is held back."""
        after = self._backlog.relay(head)
        if head.shard not in self._backlog and after.relayed_offset < after.next_offset:
            self._published[head.shard] = after.next_offset
        return after

    def _relay_backlog(self) -> bool:
        """One more piece of each shard that is behind; True while some are."""
        for shard in self._backlog.shards:
            self._heads[shard] = head = self._relay_again(self._heads[shard])
            if shard not in self._backlog and shard in self._held_back:
                self._held_back.discard(shard)
                self._source.seek(shard, head.next_offset)
                if not self._stops.stopped(shard):
                    self._source.resume(shard)
        return bool(self._backlog.shards)

    def _close_shard(self, shard: int) -> None:
        self._heads.pop(shard, None)
        self._published.pop(shard, None)
        self._backlog.forget(shard)
        self._held_back.discard(shard)
        self._stops.forget(shard)
        self._metrics.released(shard)
        log.info("poster.shard_closed", shard=shard)

    # --- standing still (G10, G11) ---

    def _stand_or_go(self, shard: int) -> None:
        """Consuming pauses and the group membership stays; what was fetched ahead is read again on resume."""
        self._source.seek(shard, self._heads[shard].next_offset)
        (self._source.pause if self._stops.stopped(shard) else self._source.resume)(shard)

    def _poll(self) -> list[tuple[int, list[Record]]]:
        """What there is to read. A shard that cannot be read on stands still, alone, unless it is decided already."""
        try:
            return self._source.poll(self._limits.batch_records_max, self._limits.linger_ms / 1000)
        except Unreadable as found:
            self._cannot_read(found.partition, found.offset)
            return []

    def _cannot_read(self, shard: int, offset: int) -> None:
        head = self._heads.get(shard)
        if head is None:
            return
        if self._stops.stopped(shard) or shard in self._backlog:
            self._source.pause(shard)  # met again once it goes on
            self._held_back.add(shard)
            return
        first = max(offset, head.next_offset)
        end = self._stops.set_aside_end(shard, first)
        if end is None:
            self._stops.halt(shard, "unreadable", first, f"no reader can unpack the batch at offset {first}")
            self._stand_or_go(shard)
            return
        self._source.pass_over(shard, first, end)
        self._post(shard, (set_aside(self._topic, shard, number) for number in range(first, end)))

    # --- posting ---

    def _take(self, shard: int, records: Sequence[Record]) -> bool:
        head = self._heads[shard]
        # 2. DECIDE. Pure: after a crash the same records are decided in the same way. Below the head all is posted.
        fresh = (record for record in self._relay.beside(records) if record.offset >= head.next_offset)
        return self._post(shard, decisions(fresh, head.rules, self._decide))

    def _post(self, shard: int, decided: Iterable[Decided]) -> bool:
        """Post what is in order, until the shard has to stand still; True when anything was."""
        limit, worked = self._stops.limit(shard), False
        try:
            for batch in pieces(decided, self._heads[shard].next_offset):
                for part in limit.parts(batch):
                    if self._stops.stopped(shard):  # by what was posted just now: the rest is read again
                        self._stand_or_go(shard)
                        return worked
                    post_batch(lambda: self._heads[shard], part, self._commit)
                    worked = True
        except Fenced as error:
            log.warning("poster.fenced", shard=shard, detail=str(error))
            self._source.seek(shard, self._open_shard(shard))
            return False
        except Halted:
            self._source.seek(shard, self._heads[shard].next_offset)
            self._stops.look_at_once()
            return False
        except DeadLetterLimitReached as error:
            if error.records > limit.part_records:
                limit.careful()  # only its plan said how many are rejected: in small parts, then
            else:
                self._stops.halt(shard, "dead_letters", self._heads[shard].next_offset, f"dead-letter limit: {error}")
            self._stand_or_go(shard)
            return worked
        except RecordRefused as error:
            self._stops.halt(shard, "refused", error.offset, error.message)
        if self._stops.stopped(shard):
            self._stand_or_go(shard)
        return worked

    def _commit(self, head: ShardHead, batch: Sequence[Decided], *, alone: bool, upto: int | None = None) -> None:
        """One batch, one transaction, then its publication. Raises Fenced, Halted, EventIdTaken, FirstRejections,
        HeavyLookUp, BatchFailed, DeadLetterLimitReached (nothing was written), Unavailable (the head says what
        happened), Corrupt.
        """
        started = self._monotonic()
        compared, named = event_ids(batch)
        # 3. WAIT. Everything below the head is acknowledged, so `relayed_offset` may move along with it. A crash here:
        # nothing happened, and the next owner publishes from the old `relayed_offset` again.
        self._relay.barrier()

        # 4. PLAN. The head's row is locked and is the very head planned on: a zombie is Fenced before it writes. A
        # crash inside rolls back: nothing happened, and the next owner seeks to shards.next_offset.
        with self._store.batch(head, alone=alone) as tx:
            plan = self._plan(head, batch, tx.look_up(compared, named), upto=upto)
            rejected = self._counted(plan)
            self._stops.limit(head.shard).check(len(batch), rejected)
            plan = tx.write(plan, relayed_offset=head.next_offset)
        # 5. COMMIT. The end of the block: from here on the batch is posted. A crash before: nothing happened; after:
        # posted, not yet relayed. An answer that was lost is Unavailable: shards.next_offset says which of the two.
        self._heads[head.shard] = plan.after
        self._stops.posted(head.shard, len(batch), rejected, plan.after.rules)
        if head.next_offset > head.relayed_offset:
            self._metrics.relayed(head.shard, head.next_offset - head.relayed_offset)

        # 6. RELAY. A crash here loses what was queued: the next owner publishes it again from `relayed_offset`.
        self._relay.publish(plan)
        self._published[head.shard] = plan.after.next_offset
        self._committed(plan, batch[-1].record if batch else None, self._monotonic() - started)

    def _counted(self, plan: Plan) -> int:
        """The dead letters that count towards the limit: an offset without a record does not count."""
        rejected = (it.record for it in plan.verdicts if it.kind == "rejected" and it.record is not None)
        return self._stops.limit(plan.before.shard).counted(rejected)

    def _committed(self, plan: Plan, newest: Record | None, seconds: float) -> None:
        after = plan.after
        self._source.note_done(after.shard, after.next_offset)
        self._metrics.progress()  # many transactions may be one step's
        if newest is not None and newest.timestamp_ms > 0:  # a record that its publisher dated says nothing of the lag
            self._fresh_at[after.shard] = newest.timestamp_ms / 1000
        report_batch(self._metrics, plan, seconds=seconds, now=self._now())

    # --- after the commit ---

    def _settle(self, published: Mapping[int, int]) -> None:
        """With nothing to post, note by itself that everything published is acknowledged."""
        if not published:
            return
        self._relay.barrier()
        for shard, offset in sorted(published.items()):
            self._store.note_relayed(shard, offset)
            head = self._heads.get(shard)
            if head is not None and offset > head.relayed_offset:  # else a rival has noted it already
                self._metrics.relayed(shard, offset - head.relayed_offset)
                self._heads[shard] = msgspec.structs.replace(head, relayed_offset=offset)
        self._published.clear()

    def _tell_lag(self) -> None:
        """Seconds are an upper bound, and a tight one: what was appended before `_fresh_at` waits no longer."""
        now = self._now()
        for shard, head in self._heads.items():
            waiting = self._source.waiting(shard, head.next_offset)
            if waiting is None:
                continue
            if not waiting:
                self._fresh_at[shard] = now
            self._metrics.lag(shard, waiting, max(0.0, now - self._fresh_at[shard]))
