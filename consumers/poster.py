"""The poster: settlement events in, balanced journal entries posted, each event id once and for ever.

The order of side effects is the safety proof:
  1. read a batch of one shard         nothing changes; a crash reads it again
  2. decide on the records alone       pure
  3. wait for the relay's barrier      the batch before is acknowledged downstream: `relayed_offset` may move
  4. one transaction on the very head  COMMIT is the commit point: entries, balances, verdicts, dead letters, head
  5. publish what was committed        a crash publishes it again, from Postgres, on the next assignment
Kafka's own offsets are told afterwards, for lag tools; nobody reads them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from consumers.dead_letter_limit import DeadLetterLimit, DeadLetterLimitReached
from consumers.metrics import Metrics
from consumers.relay import Relay
from ledger_core.errors import Corrupt, Rejected
from ledger_core.ports import AuditIntent, Record
from ledger_core.posting_port import BatchFailed, EventIdTaken, Fenced, Halted, PosterStore
from ledger_core.posting_rules import claimed_event_id, draft
from ledger_core.sequencing import Decided, Known, Plan, Rejection, ShardHead, event_ids, sequence
from schemas.settlement import decode_settlement

HALT_POLL_SECONDS = 0.5
EVENT_ID_RETRIES_MAX = 5

log = structlog.get_logger("poster")


class Source(Protocol):
    """consumers.kafka_source.KafkaSource, as far as the poster needs it."""

    @property
    def owned(self) -> frozenset[int]: ...

    def poll(self, records_max: int, timeout_seconds: float) -> list[tuple[int, list[Record]]]: ...

    def seek(self, partition: int, offset: int) -> None: ...

    def pause(self, partition: int) -> None: ...

    def resume(self, partition: int) -> None: ...

    def high_watermark(self, partition: int) -> int | None: ...

    def note_done(self, partition: int, next_offset: int) -> None: ...

    def close(self) -> None: ...


OpenSource = Callable[[Callable[[int], int], Callable[[int], None]], Source]
"""(start_offset, on_revoked) -> a source subscribed to the settlements topic."""


class PosterLimits(msgspec.Struct, frozen=True):
    batch_records_max: int = 4000
    linger_ms: int = 50
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
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._store = store
        self._relay = relay
        self._limits = limits
        self._metrics = metrics
        self._now = now
        self._monotonic = monotonic
        self._heads: dict[int, ShardHead] = {}
        self._unacknowledged: set[int] = set()
        self._dead_letters = DeadLetterLimit(limits.dead_letters_max, limits.dead_letter_window_records)
        self._halted = False
        self._halt_checked_at = float("-inf")
        self._source = open_source(self._open_shard, self._close_shard)

    def step(self) -> bool:
        """Read and post one batch of each shard that has something; True when anything was posted or rejected."""
        self._look_at_halt_flag()
        groups = self._source.poll(self._limits.batch_records_max, self._limits.linger_ms / 1000)
        worked = False
        if not self._halted:
            for shard, records in groups:
                worked = self._take(shard, records) or worked
        if not worked:
            self._settle()
        self._tell_lag()
        return worked

    def close(self) -> None:
        """Leave the group first, so that a successor starts; then note what is acknowledged, if the brokers answer."""
        try:
            self._source.close()
            self._settle()
        finally:
            self._relay.close()
            self._store.close()

    # --- assignment ---

    def _open_shard(self, shard: int) -> int:
        head = self._store.open_shard(shard, self._topic)
        if head.relayed_offset < head.next_offset:
            items = self._store.unrelayed(head)
            self._relay.publish_again(shard, items)
            self._unacknowledged.add(shard)
            log.info("poster.relayed_again", shard=shard, records=len(items), from_offset=head.relayed_offset)
        self._heads[shard] = head
        log.info("poster.shard_opened", shard=shard, seq=head.seq, next_offset=head.next_offset)
        return head.next_offset

    def _close_shard(self, shard: int) -> None:
        self._heads.pop(shard, None)
        self._unacknowledged.discard(shard)
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
            self._dead_letters.clear()

    def _set_halted(self, halted: bool) -> None:
        """Consuming pauses and the group membership stays; what was fetched ahead is read again on resume."""
        self._halted = halted
        self._metrics.halted(halted)
        for shard, head in self._heads.items():
            self._source.seek(shard, head.next_offset)
            (self._source.pause if halted else self._source.resume)(shard)

    # --- posting ---

    def _take(self, shard: int, records: Sequence[Record]) -> bool:
        head = self._heads[shard]
        batch = [decide(record) for record in records if record.offset >= head.next_offset]
        if not batch:
            return False
        started = self._monotonic()
        try:
            plans = self._post(head, batch)
        except Fenced as error:
            log.warning("poster.fenced", shard=shard, detail=str(error))
            self._source.seek(shard, self._open_shard(shard))
            return False
        except Halted:
            self._source.seek(shard, head.next_offset)
            self._halt_checked_at = float("-inf")
            return False
        except DeadLetterLimitReached as error:
            self._halt_for_dead_letters(shard, str(error))
            return False
        for plan in plans:
            self._committed(plan, self._monotonic() - started)
        return True

    def _post(self, head: ShardHead, batch: Sequence[Decided]) -> list[Plan]:
        """Commit the batch, in halves when the database refuses something in it, down to the one record."""
        try:
            return [self._commit(head, batch)]
        except BatchFailed as error:
            if len(batch) == 1:
                offset = batch[0].record.offset
                raise Corrupt(f"shard {head.shard}: offset {offset} cannot be posted: {error}") from error
            log.warning("poster.bisecting", shard=head.shard, records=len(batch), detail=str(error))
        middle = len(batch) // 2
        plans = self._post(head, batch[:middle])
        return plans + self._post(self._heads[head.shard], batch[middle:])

    def _commit(self, head: ShardHead, batch: Sequence[Decided]) -> Plan:
        ids, reversed_ids = event_ids(batch)
        rejects_first = bool(reversed_ids) or any(
            isinstance(item.outcome, Rejection) and item.outcome.event_id is not None for item in batch
        )

        def make_plan(known: dict[str, Known]) -> Plan:
            plan = sequence(head, batch, known)
            self._dead_letters.check(len(batch), plan.after.rejected - head.rejected)
            return plan

        self._relay.barrier()  # everything below the head is acknowledged: `relayed_offset` moves along with the head

        for _ in range(EVENT_ID_RETRIES_MAX):
            try:
                plan = self._store.commit(head, ids + reversed_ids, rejects_first, make_plan, head.next_offset)
            except EventIdTaken as error:
                log.warning("poster.event_id_taken", shard=head.shard, detail=str(error))
                continue
            self._heads[head.shard] = plan.after
            self._dead_letters.add(len(batch), plan.after.rejected - head.rejected)
            self._relay.publish(plan)
            self._unacknowledged.add(head.shard)
            return plan
        raise Corrupt(f"shard {head.shard}: event ids from offset {head.next_offset} stay taken without being found")

    def _committed(self, plan: Plan, seconds: float) -> None:
        before, after = plan.before, plan.after
        self._source.note_done(after.shard, after.next_offset)
        rejected = after.rejected - before.rejected
        records = [*(entry.record for entry in plan.posted[:1]), *(v.record for v in plan.verdicts[:1] if v.record)]
        oldest_ms = min((record.timestamp_ms for record in records), default=None)
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
        for verdict in plan.verdicts:
            if verdict.kind == "rejected":
                self._metrics.rejected(verdict.reason, 1)

    def _halt_for_dead_letters(self, shard: int, reason: str) -> None:
        payload: dict[str, object] = {"reason": reason, "shard": shard}
        self._store.halt(f"dead-letter limit: {reason}", AuditIntent("ledger.halted", "service:poster", payload, ""))
        log.error(
            "poster.dead_letter_limit", shard=shard, reason=reason, remedy="mend the publisher, then `finance resume`"
        )
        self._halt_checked_at = float("-inf")
        self._source.seek(shard, self._heads[shard].next_offset)

    # --- after the commit ---

    def _settle(self) -> None:
        """With nothing to post, note by itself that everything published is acknowledged."""
        if not self._unacknowledged:
            return
        self._relay.barrier()
        for shard in sorted(self._unacknowledged):
            head = self._heads.get(shard)
            if head is not None:
                self._store.note_relayed(shard, head.next_offset)
                self._metrics.relayed(shard, head.next_offset - head.relayed_offset)
                self._heads[shard] = msgspec.structs.replace(head, relayed_offset=head.next_offset)
        self._unacknowledged.clear()

    def _tell_lag(self) -> None:
        for shard, head in self._heads.items():
            high = self._source.high_watermark(shard)
            if high is not None:
                self._metrics.lag(shard, max(0, high - head.next_offset), 0.0)


def decide(record: Record) -> Decided:
    """The rules that need the record alone."""
    fields = None
    try:
        fields = decode_settlement(record.value)
        return Decided(record, draft(fields, record.key))
    except Rejected as rejected:
        event_id = None if fields is None else claimed_event_id(fields)
        digest = hashlib.sha256(record.value or b"").digest()
        return Decided(record, Rejection(rejected.reason, rejected.detail, event_id, digest))
