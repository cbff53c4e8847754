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
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from consumers.kafka.source import OpenSource
from consumers.metrics import Metrics
from consumers.posting.batch_pieces import pieces
from consumers.posting.batch_transaction import post_batch
from consumers.posting.dead_letter_limit import DeadLetterLimit, DeadLetterLimitReached
from consumers.posting.decision import decide
from consumers.posting.relay import Relay
from consumers.posting.relay_backlog import RelayBacklog
from consumers.posting.retelling import Planner
from ledger_core.ports import Record
from ledger_core.posting.plans import Decided, Plan, ShardHead
from ledger_core.posting.sequencing import event_ids, sequence
from ledger_core.posting.store_port import Fenced, Halted, PosterStore

HALT_POLL_SECONDS = 0.5

log = structlog.get_logger("poster")


class PosterLimits(msgspec.Struct, frozen=True):
    """Set by topology.yaml. At most so many records are read at once, after waiting so long for the first; more than
    `dead_letters_max` rejections among the newest `dead_letter_window_records` halt posting."""

    batch_records_max: int = 4000  # in one transaction
    linger_ms: int = 50  # waited out by each read, unless it is full
    dead_letters_max: int = 1000
    dead_letter_window_records: int = 10_000


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
        now: Callable[[], float] = time.time,  # noqa: TID251  (an argument; this is its default)
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._store = store
        self._relay = relay
        self._limits = limits
        self._metrics = metrics
        self._plan = plan
        self._now = now
        self._monotonic = monotonic
        self._heads: dict[int, ShardHead] = {}
        self._published: dict[int, int] = {}  # shard -> all below this offset is published, perhaps not acknowledged
        self._backlog = RelayBacklog(store, relay)
        self._held_back: set[int] = set()  # paused with records read, which are read again
        self._fresh_at: dict[int, float] = {}  # shard -> what the topic took before this moment is handled
        self._sound = True  # the step before ended without a failure
        self._dead_letters = DeadLetterLimit(limits.dead_letters_max, limits.dead_letter_window_records)
        self._halted = False
        self._halt_checked_at = float("-inf")
        self._source = open_source(self._open_shard, self._close_shard)

    def step(self) -> bool:
        """Read and post one batch of each shard that has something; True when anything was done."""
        self._sound = False
        self._look_at_halt_flag()
        worked = self._relay_backlog()
        # 1. READ. Nothing changes: a crash here, or the next owner, reads the same records again.
        groups = self._source.poll(self._limits.batch_records_max, self._limits.linger_ms / 1000)
        for shard, records in groups:
            if self._halted or shard in self._backlog:
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
                if not self._halted:
                    self._source.resume(shard)
        return bool(self._backlog.shards)

    def _close_shard(self, shard: int) -> None:
        self._heads.pop(shard, None)
        self._published.pop(shard, None)
        self._backlog.forget(shard)
        self._held_back.discard(shard)
        self._metrics.released(shard)
        log.info("poster.shard_closed", shard=shard)

    # --- halt (G10) ---

    def _look_at_halt_flag(self) -> None:
        moment = self._monotonic()
        if moment - self._halt_checked_at < HALT_POLL_SECONDS:
            return
        self._halt_checked_at = moment
        halted = self._store.is_halted()
        if halted == self._halted:
            return
        log.warning("poster.halted" if halted else "poster.resumed", shards=sorted(self._heads))
        self._set_halted(halted)
        if not halted:
            self._dead_letters.resume(int(self._now() * 1000))

    def _set_halted(self, halted: bool) -> None:
        """Consuming pauses and the group membership stays; what was fetched ahead is read again on resume."""
        self._halted = halted
        self._metrics.halted(halted)
        for shard, head in self._heads.items():
            self._source.seek(shard, head.next_offset)
            (self._source.pause if halted else self._source.resume)(shard)

    # --- posting ---

    def _take(self, shard: int, records: Sequence[Record]) -> bool:
        next_offset = self._heads[shard].next_offset
        # 2. DECIDE. Pure: after a crash the same records are decided in the same way. Below the head all is posted.
        fresh = (decide(record) for record in self._relay.beside(records) if record.offset >= next_offset)
        worked = False
        try:
            for batch in pieces(fresh, next_offset):
                post_batch(lambda: self._heads[shard], batch, self._commit)
                worked = True
        except Fenced as error:
            log.warning("poster.fenced", shard=shard, detail=str(error))
            self._source.seek(shard, self._open_shard(shard))
            return False
        except Halted:
            self._source.seek(shard, self._heads[shard].next_offset)
            self._halt_checked_at = float("-inf")
            return False
        except DeadLetterLimitReached as error:
            self._halt_for_dead_letters(shard, str(error))
            return False
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
            self._dead_letters.check(len(batch), self._counted(plan))
            plan = tx.write(plan, relayed_offset=head.next_offset)
        # 5. COMMIT. The end of the block: from here on the batch is posted. A crash before: nothing happened; after:
        # posted, not yet relayed. An answer that was lost is Unavailable: shards.next_offset says which of the two.
        self._heads[head.shard] = plan.after
        self._dead_letters.add(len(batch), self._counted(plan))
        if head.next_offset > head.relayed_offset:
            self._metrics.relayed(head.shard, head.next_offset - head.relayed_offset)

        # 6. RELAY. A crash here loses what was queued: the next owner publishes it again from `relayed_offset`.
        self._relay.publish(plan)
        self._published[head.shard] = plan.after.next_offset
        self._committed(plan, batch[-1].record if batch else None, self._monotonic() - started)

    def _counted(self, plan: Plan) -> int:
        """The dead letters that count towards the limit: an offset without a record does not count."""
        rejected = (verdict.record for verdict in plan.verdicts if verdict.kind == "rejected")
        return self._dead_letters.counted(record for record in rejected if record is not None)

    def _committed(self, plan: Plan, newest: Record | None, seconds: float) -> None:
        before, after = plan.before, plan.after
        self._source.note_done(after.shard, after.next_offset)
        self._metrics.progress()  # many transactions may be one step's
        if newest is not None and newest.timestamp_ms > 0:  # a record that its publisher dated says nothing of the lag
            self._fresh_at[after.shard] = newest.timestamp_ms / 1000
        rejected = after.rejected - before.rejected
        records = [*(entry.record for entry in plan.posted[:1]), *(v.record for v in plan.verdicts[:1] if v.record)]
        oldest_ms = min((record.timestamp_ms for record in records if record.timestamp_ms > 0), default=None)
        latency_seconds = 0.0 if oldest_ms is None else max(0.0, self._now() - oldest_ms / 1000)
        log.info(
            "poster.batch",
            shard=after.shard,
            first_offset=before.next_offset,
            next_offset=after.next_offset,
            posted=len(plan.posted),
            duplicates=after.duplicates - before.duplicates,
            rejected=rejected,
            seq=after.seq,
            head=after.head_hash.hex() if after.head_hash else None,
            seconds=round(seconds, 4),
            latency_seconds=round(latency_seconds, 4),
        )
        if plan.posted:
            self._metrics.posted(after.shard, len(plan.posted), latency_seconds)
        if after.duplicates > before.duplicates:
            self._metrics.duplicates(after.shard, after.duplicates - before.duplicates)
        holes = 0
        for verdict in plan.verdicts:
            if verdict.record is None:
                holes += 1
            elif verdict.kind == "rejected":
                self._metrics.rejected(verdict.reason, 1)
        if holes:
            self._metrics.no_record(after.shard, holes)

    def _halt_for_dead_letters(self, shard: int, reason: str) -> None:
        self._store.halt(f"dead-letter limit: {reason}", shard)
        log.error(
            "poster.dead_letter_limit", shard=shard, reason=reason, remedy="mend the publisher, then `finance resume`"
        )
        self._set_halted(True)  # at once: a resume that comes before the next check must still be seen as one

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
