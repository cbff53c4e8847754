"""Bringing the audit chain of a database back from where it was published or exported.

The order of side effects is the safety proof; each step stands as a comment where it happens:
  1. LEAD: become the only writer        nothing changes; no notary may run
  2. CHECK each event from the first on  nothing changes; compared with what the database still has
  3. INSERT a batch, take its intents    a commit point: a crash leaves a prefix, and the next run goes on behind it
  4. FINISH: note what is published, say on the chain that it was restored    the commit point: restored

Guarantees: nothing is written that does not verify and follow what stands there; killed anywhere and run again it goes
on. An intent that the restored database still has in its outbox, and whose event is on the restored chain, is taken
out: it would be chained twice.
Does not: repair a chain that contradicts the source: that is Refused, and left to people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ledger_core.audit.admission import respelled
from ledger_core.audit.events import AuditEvent
from ledger_core.errors import Refused
from ledger_core.findings import Collector
from ledger_core.ports import AuditIntent
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.audit import AuditCheck

BATCH_EVENTS: Final = 500
LOCK_WAIT_SECONDS: Final = 2.0


class RestoreStore(Protocol):
    """See `ledger_core.postgres.audit.restore_store`. Every method may raise Unavailable("postgres")."""

    def acquire(self, wait_seconds: float) -> bool: ...

    def head(self) -> AuditEvent | None: ...

    def hash_at(self, seq: int) -> str | None: ...

    def restore(self, events: Sequence[AuditEvent]) -> int: ...

    def finish(self, published_seq: int, intent: AuditIntent | None) -> None: ...


@dataclass(frozen=True, slots=True)
class RestoredChain:
    """Events first_seq..last_seq came back (none when last_seq < first_seq); `intents_taken` were chained already."""

    first_seq: int  # of the first event that came back
    last_seq: int  # of the last one, inclusive
    head_hash: str | None  # of the chain's last event now, hex; None while it is empty
    intents_taken: int


def restore_chain(
    store: RestoreStore,
    events: Iterable[AuditEvent],
    registry: SignerRegistry,
    *,
    source: str,
    actor_id: str,
    trace_id: str,
    published_seq: int,
    advance: Callable[[int], None],
) -> RestoredChain:
    """Bring back what the source has beyond the database. `published_seq`: what the topic holds, 0 if that is not
    known. Raises Refused and Unavailable."""
    # 1. LEAD. The lock ends with the session; nothing has changed.
    if not store.acquire(LOCK_WAIT_SECONDS):
        raise Refused("a notary works on this database", remedy="stop every notary, then run this again")
    head = store.head()
    seq = head.seq if head is not None else 0
    found = Collector()
    check = AuditCheck(registry, found)
    waiting: list[AuditEvent] = []
    taken = 0
    # 2. CHECK. What does not verify, or contradicts the database, is Refused: what was inserted before it stands.
    for event in events:
        check.take(event)
        _raise_found(found, source)
        advance(1)
        # Now and then, and at the head: that also shows the server that the lock's holder is alive.
        looked_at = event.seq == seq or (event.seq < seq and event.seq % BATCH_EVENTS == 0)
        if looked_at and store.hash_at(event.seq) != event.hash:
            raise _contradiction(source, event.seq)
        if event.seq > seq:
            waiting.append(event)
        # 3. INSERT. A crash before the COMMIT: the batch is checked again; after: it stands, and is compared.
        if len(waiting) == BATCH_EVENTS:
            taken += store.restore(waiting)
            waiting = []
    if not check.seq:
        raise Refused(f"{source} contains no audit event", remedy="name another source with --from")
    if check.seq < seq and store.hash_at(check.seq) != check.hash:
        raise _contradiction(source, check.seq)
    check.finish()
    _raise_found(found, source)
    if waiting:
        taken += store.restore(waiting)
    restored = RestoredChain(seq + 1, max(seq, check.seq), check.hash, taken)
    intent = _intent(restored, source, actor_id, trace_id) if restored.last_seq > seq else None
    # 4. FINISH. A crash before the COMMIT: every event stands, and the next run comes here with nothing to insert.
    store.finish(min(published_seq, restored.last_seq), intent)
    return restored


def _intent(restored: RestoredChain, source: str, actor_id: str, trace_id: str) -> AuditIntent:
    payload: dict[str, object] = {
        "source": respelled(source),
        "first_seq": str(restored.first_seq),
        "last_seq": str(restored.last_seq),
        "head_hash": restored.head_hash,
        "intents_taken": str(restored.intents_taken),
    }
    return AuditIntent("audit_chain.restored", actor_id, payload, trace_id)


def _raise_found(found: Collector, source: str) -> None:
    for finding in found.report().findings:
        raise Refused(
            f"{source} does not verify: {finding}",
            remedy="what was sound before it stands; restore the rest from another source",
        )


def _contradiction(source: str, seq: int) -> Refused:
    return Refused(
        f"{source} has another event at seq {seq} than the database: one of them is a fork",
        remedy="keep both, and find out with `finance audit verify --from db --against topic` where they part; nothing "
        "was written",
    )
