"""Events that an operator set aside: each names an earlier event by seq and hash, which means nothing from then on.

Guarantees: only an event of that type that means something counts (`event_types.meaning_fault`), and only for what
stands before it; no decision of this kind is set aside itself. Does not: take anything off the chain, nothing ever is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from ledger_core.audit.event_types import SET_ASIDE, meaning_fault
from ledger_core.audit.events import AuditEvent
from ledger_core.ports import AuditIntent

Place = tuple[int, str]  # seq and hash of an event


def set_aside_intent(event: AuditEvent, reason: str, actor_id: str, trace_id: str) -> AuditIntent:
    """`audit.set_aside`: from now on that event means nothing."""
    payload: dict[str, object] = {
        "set_aside_seq": str(event.seq),
        "set_aside_hash": event.hash,
        "reason": reason,
    }
    return AuditIntent(SET_ASIDE, actor_id, payload, trace_id)


def set_aside_by(event: AuditEvent) -> Place | None:
    """The place that an event sets aside; None: it sets nothing aside."""
    if event.event_type != SET_ASIDE:
        return None
    return named_place(event.seq, event.actor_id, event.payload)


def places_set_aside(events: Iterable[AuditEvent]) -> frozenset[Place]:
    """All that these events set aside."""
    return frozenset(place for place in map(set_aside_by, events) if place is not None)


def meaningful(events: Iterable[AuditEvent], aside: Collection[Place]) -> Iterator[AuditEvent]:
    """The events that mean something, and are not set aside. Their hashes and signatures are another question."""
    for event in events:
        meant = meaning_fault(event.event_type, event.actor_id, event.payload) is None
        if meant and (event.seq, event.hash) not in aside:
            yield event


def named_place(seq: int, actor_id: str, payload: Mapping[str, object]) -> Place | None:
    """The same of an event of that type, by its parts."""
    if meaning_fault(SET_ASIDE, actor_id, payload) is not None:
        return None
    place = int(str(payload["set_aside_seq"])), str(payload["set_aside_hash"])
    return place if place[0] < seq else None
