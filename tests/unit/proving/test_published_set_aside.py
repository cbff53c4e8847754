"""A range that an operator set aside was never announced, as far as the prover is told."""

from __future__ import annotations

from ledger_core.audit import events as audit_chain
from ledger_core.audit.events import AuditEvent
from ledger_core.audit.set_aside import set_aside_intent
from tests.unit.proving.test_published_topic import AT, KEY, Topic, chain


def with_decision(events: list[AuditEvent], at: int) -> list[AuditEvent]:
    """The chain, and an operator's decision that one of its events is set aside."""
    said = set_aside_intent(events[at], "forged", "operator:ada", "ab" * 16)
    unsigned = audit_chain.next_event(events[-1], said, event_id="decision", created_at=AT)
    return [*events, unsigned.signed(KEY.sign_digest(unsigned.digest), KEY.registry.get(KEY.kid))]


def test_a_range_that_an_operator_set_aside_was_never_announced() -> None:
    events = chain([(0, 1), (0, 1_000_000)])
    assert Topic(events).ranges(0) == [1, 1_000_000]
    assert Topic(with_decision(events, 2)).ranges(0) == [1]


def test_a_decision_counts_also_for_what_was_read_before_it() -> None:
    events = chain([(0, 1), (0, 1_000_000)])
    topic = Topic(events)
    reader = topic.reader()
    assert [it.range_no for it in reader.ranges(0, 0).ranges] == [1, 1_000_000]
    topic.values = [it.to_json() for it in with_decision(events, 2)]
    topic.now += 10
    assert [it.range_no for it in reader.ranges(0, 0).ranges] == [1]
