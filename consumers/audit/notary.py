"""The notary: intents of the audit outbox become signed events on the one audit chain, which is then published.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. LEAD: become the only writer (a second one waits here)  nothing changes
     ask the topic: what was published must stand here       else Refused: a fork of it could be signed
     FENCE the topic, and ask it again                       a notary of another database (a promoted copy) ends
  2. SIGN: read intents, place them after the head           bytes are fixed, nothing changes; a crash forgets them
  3. COMMIT: insert events, delete their intents             the commit point, one transaction
  4. PUBLISH events beyond `published_seq`, in a transaction a crash publishes them again, with the same id and seq
  5. MOVE `published_seq`                                    done
What cannot be chained (`audit.admission`) is kept apart in step 3; an event in its place says so, and what is behind it
goes on.
An outage of the signer stops 2, one of Kafka stops 4, each alone: intents wait in the outbox, events in the table (a
notary that starts while Kafka is away waits, though: it cannot know what was published). Nothing unsigned is ever
written or published (G6). An operator's event that announces a new key is signed by the key it names as outgoing, or
waits: so the log alone says whom to trust next. The newest event is verified before anything is chained to it, and
every event again after it was read back to be published: what does not verify is Corrupt.
Whom another notary fenced ends its lead, and begins with 1: then the topic says whose chain was published.
Does not: judge the whole chain (`finance verify audit` does), or decide what is worth an event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from consumers.metrics import Metrics
from consumers.signing.circuit import SignerAway
from consumers.signing.signer_set import SignerSet
from ledger_core.audit.admission import REASON_CHARS_MAX, admission_fault, refused_intent, respelled
from ledger_core.audit.events import AuditEvent, UnsignedAuditEvent, form_fault_of, next_event
from ledger_core.errors import Corrupt, Refused, TakenOver, Unavailable
from ledger_core.ports import AuditIntent, PendingIntent, Publisher
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.rotation import must_be_signed_by
from ledger_core.times import format_time

PARTITION: Final = 0  # one chain, one partition
KEY: Final = b"audit"  # constant: no partitioner may tear the chain apart
STANDBY_WAIT_SECONDS: Final = 1.0
FLUSH_TIMEOUT_SECONDS: Final = 5.0
STEP_SECONDS_MAX: Final = 1.0  # of chaining while Kafka is away
SIGN_SECONDS_MAX: Final = 2.0  # of one batch: with a slow signer a smaller one, or a session would sit idle too long
BACKLOG_EVERY_SECONDS: Final = 1.0

REFUSED_REMEDY: Final = "see table refused_intents: what was left there is not on the chain; find out who left it"

log = structlog.get_logger("notary")


class AuditStore(Protocol):
    """See postgres.audit.notary_store, which says what each method guarantees. All may raise Unavailable."""

    def acquire(self, wait_seconds: float) -> bool: ...

    def head(self) -> AuditEvent | None: ...

    def hash_at(self, seq: int) -> str | None: ...

    def pending(self, intents_max: int) -> list[PendingIntent]: ...

    def extend(
        self, events: Sequence[AuditEvent], outbox_ids: Sequence[int], refused: Mapping[int, str] | None = None
    ) -> None: ...

    def unpublished(self, events_max: int) -> list[AuditEvent]: ...

    def set_published(self, seq: int) -> None: ...

    def backlog(self) -> tuple[int, float]: ...

    def close(self) -> None: ...


class ChainPublisher(Publisher, Protocol):
    """See `producers.kafka.one_writer`: `flush` commits all that was published, or nothing; it may raise TakenOver."""

    def fence(self, timeout_seconds: float) -> None: ...


class Notary:
    """A service (consumers.service.Service). `new_id` makes event ids, `monotonic` gives seconds; the store, the signer
    and the publisher are its own and end with it."""

    name = "notary"

    def __init__(
        self,
        *,
        store: AuditStore,
        signers: SignerSet,
        registry: SignerRegistry,
        publisher: ChainPublisher,
        newest_published: Callable[[], AuditEvent | None],
        topic: str,
        batch_events_max: int,
        new_id: Callable[[], str],
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._signers = signers
        self._registry = registry
        self._publisher = publisher
        self._newest_published = newest_published
        self._topic = topic
        self._batch_events_max = batch_events_max
        self._new_id = new_id
        self._metrics = metrics
        self._monotonic = monotonic
        self._leading = False
        self._head: UnsignedAuditEvent | None = None
        self._backlog_at = float("-inf")

    def step(self) -> bool:
        """Chain one batch and publish one; False when nothing waits or another notary leads.

        Raises Unavailable, Refused, Corrupt (an event that does not verify).
        """
        if not self._leading and not self._lead():
            return False
        outage: Unavailable | None = None
        published = 0
        try:
            published = self._publish()
        except Unavailable as error:
            if error.what != "kafka" or isinstance(error, TakenOver):
                raise
            outage = error
        chained = self._chain_for_a_while() if outage else self._chain()
        self._tell_backlog()
        if outage:
            raise outage
        return bool(published or chained)

    def close(self) -> None:
        """Let the publisher go first: the lock, which lets the next notary in, goes last."""
        try:
            self._publisher.close()
        finally:
            self._signers.close()
            self._store.close()

    def _lead(self) -> bool:
        # 1. LEAD. The lock ends with the session, so a crash lets the next notary in; nothing has changed.
        if not self._store.acquire(STANDBY_WAIT_SECONDS):
            return False
        head = self._store.head()
        if head is not None:
            check_event(head, self._registry)
        self._check_published(head)  # first: who is refused here, however often it starts, fences nobody
        # FENCE. Whoever published before publishes no more; so what the topic says now stays true.
        self._publisher.fence(FLUSH_TIMEOUT_SECONDS)
        self._check_published(head)
        self._head = head
        self._leading = True
        log.info("notary.leading", seq=head.seq if head else 0, signer_kid=self._signers.kid)
        return True

    def _check_published(self, head: UnsignedAuditEvent | None) -> None:
        """Raise Refused unless what the topic holds stands on this chain: strangers have it, and it binds."""
        newest = self._newest_published()
        if newest is None:
            return
        seq = head.seq if head is not None else 0
        if newest.seq > seq:
            what = f"reaches seq {newest.seq}, and this chain ends at {seq}: the database lost its end"
        elif self._store.hash_at(newest.seq) != newest.hash:
            what = f"holds another event at seq {newest.seq} than this chain: one of them is a fork"
        else:
            return
        raise Refused(
            f"{self._topic} {what}",
            remedy="run `finance audit restore --from topic` (it says so if the chains contradict each other); if two "
            "databases live, this one and its promoted copy, stop every process of the one that is not to go on",
        )

    def _publish(self) -> int:
        events = self._store.unpublished(self._batch_events_max)
        if not events:
            return 0
        for event in events:
            check_event(event, self._registry)
        # 4. PUBLISH. A crash before the commit: none of them is there; after: they come again, with the same id and
        # seq, and readers skip them. Fenced: another notary leads, and what it published is asked by the next lead.
        for event in events:
            self._publisher.publish(self._topic, PARTITION, key=KEY, value=event.to_json())
        self._publisher.flush(FLUSH_TIMEOUT_SECONDS)
        # 5. MOVE. A crash before: published again; after: done.
        self._store.set_published(events[-1].seq)
        log.info("notary.published", first_seq=events[0].seq, last_seq=events[-1].seq)
        return len(events)

    def _chain_for_a_while(self) -> int:
        """Kafka is away and the service is about to be built anew, with a wait: use the time that a step has."""
        started = self._monotonic()
        total = 0
        while count := self._chain():
            total += count
            if self._monotonic() - started >= STEP_SECONDS_MAX:
                break
        return total

    def _chain(self) -> int:
        pending = self._store.pending(self._batch_events_max) if self._signers.ready else []
        if not pending:
            return 0
        # 2. SIGN. In memory alone: a crash forgets the events, and their intents still wait in the outbox.
        events: list[AuditEvent] = []
        refused: dict[int, str] = {}
        head = self._head
        started = self._monotonic()
        for item in pending:
            intent, fault = self._admitted(item)
            head = next_event(head, intent, event_id=self._new_id(), created_at=item.created_at)
            named = must_be_signed_by(intent)  # a successor is announced by the outgoing key, or not at all
            ts = format_time(head.created_at)
            try:
                with self._signers.attempt_written(named, ts) if named else self._signers.attempt() as signer:
                    events.append(head.signed(signer.sign_digest(head.digest), signer.registered))
            except SignerAway:
                break  # what is signed is chained: a signer that fails now and then must not stop the chain for ever
            if fault is not None:
                refused[item.outbox_id] = respelled(fault)[:REASON_CHARS_MAX]
            if self._monotonic() - started >= SIGN_SECONDS_MAX:
                break
        if not events:
            return 0
        # 3. COMMIT. A crash before: the intents are still in the outbox; after: the events are on the chain, and what
        # was refused is kept apart.
        self._store.extend(events, [item.outbox_id for item in pending[: len(events)]], refused)
        self._head = events[-1]
        self._metrics.audited(len(events))
        self._metrics.intents_refused(len(refused))
        for outbox_id, fault in refused.items():
            log.error("notary.refused", outbox_id=outbox_id, reason=fault, remedy=REFUSED_REMEDY)
        log.info("notary.chained", first_seq=events[0].seq, last_seq=events[-1].seq, signer_kid=self._signers.kid)
        return len(events)

    def _admitted(self, item: PendingIntent) -> tuple[AuditIntent, str | None]:
        """The intent; or where it cannot be chained, the one that says so, and why."""
        fault = item.fault or admission_fault(item.intent) or self._announcer_fault(item)
        if fault is None:
            return item.intent, None
        return refused_intent(item.outbox_id, item.intent, item.content_sha256, fault), fault

    def _announcer_fault(self, item: PendingIntent) -> str | None:
        """An announcement waits for the key that it names; for one that cannot be the outgoing key it would wait for
        ever."""
        kid = must_be_signed_by(item.intent)
        if kid is None or self._signers.holds(kid):
            return None
        signer = self._registry.find(kid)
        if signer is None:
            return f"{kid}, which is to sign it, is not in the registry"
        if signer.retired_at is not None and signer.retired_at <= item.created_at:
            return f"{kid}, which is to sign it, is retired"
        if isinstance(self._head, AuditEvent) and self._head.signer_kid != kid:
            return f"{kid} is to sign it, and {self._head.signer_kid} signs"
        return None

    def _tell_backlog(self) -> None:
        now = self._monotonic()
        if now - self._backlog_at >= BACKLOG_EVERY_SECONDS:
            self._backlog_at = now
            records, seconds = self._store.backlog()
            self._metrics.lag(0, records, seconds)


def check_event(event: AuditEvent, registry: SignerRegistry) -> None:
    """Raise Corrupt unless the event stands, whatever it means; Refused where the registry may be to blame, for a key
    that it lacks, or ended before its last signature: that does not halt posting."""
    fault = form_fault_of(event, registry)
    if fault is None:
        return
    if fault.code == "signer":
        raise Refused(
            f"signer {event.signer_kid}, who signed audit event seq {event.seq}, is not in the registry",
            remedy="put that key back into signers.json: retired keys stay there, or history stops verifying",
        )
    if fault.code == "retired":
        raise Refused(
            f"audit event seq {event.seq} ({event.id}) does not count: {fault.message}",
            remedy="if that key signed it, move its retiredAt in signers.json to after this event; else find out who "
            "did",
        )
    raise Corrupt(f"audit event seq {event.seq} ({event.id}) does not verify: {fault.message}")
