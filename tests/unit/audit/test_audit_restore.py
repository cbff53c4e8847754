"""Bringing the chain back: interrupted anywhere it goes on; what does not verify, or contradicts, is never written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from consumers.audit.restore import BATCH_EVENTS, RestoredChain, restore_chain
from ledger_core.audit.events import AuditEvent
from ledger_core.audit.sources import along, once
from ledger_core.errors import Refused, Unavailable
from ledger_core.findings import Collector
from ledger_core.ports import AuditIntent
from tests.support.archive_factory import Key
from tests.support.audit_factory import audit_events

KEY = Key()
CHAIN = audit_events(KEY, BATCH_EVENTS * 2 + 7)


class Store:
    """A database; `fails` lets the nth batch fail, before it is written or after."""

    def __init__(self, chain: Sequence[AuditEvent] = (), fails: tuple[int, str] = (0, "")) -> None:
        self.chain = list(chain)
        self.fails = fails
        self.batches = 0
        self.finished: tuple[int, AuditIntent | None] | None = None

    def acquire(self, wait_seconds: float) -> bool:
        return True

    def head(self) -> AuditEvent | None:
        return self.chain[-1] if self.chain else None

    def hash_at(self, seq: int) -> str | None:
        return self.chain[seq - 1].hash if seq <= len(self.chain) else None

    def restore(self, events: Sequence[AuditEvent]) -> int:
        self.batches += 1
        if self.fails == (self.batches, "before"):
            raise Unavailable("postgres", "cut")
        assert events[0].seq == len(self.chain) + 1
        self.chain += events
        if self.fails == (self.batches, "after"):
            raise Unavailable("postgres", "cut")
        return 0

    def finish(self, published_seq: int, intent: AuditIntent | None) -> None:
        self.finished = (published_seq, intent)


def restored(store: Store, events: Sequence[AuditEvent], published_seq: int = 0) -> RestoredChain:
    return restore_chain(
        store,
        iter(events),
        KEY.registry,
        source="topic",
        actor_id="operator:test",
        trace_id="ab" * 16,
        published_seq=published_seq,
        advance=lambda _count: None,
    )


@pytest.mark.parametrize("kept", [0, 1, BATCH_EVENTS, BATCH_EVENTS + 3])
@pytest.mark.parametrize("fails", [(1, "before"), (1, "after"), (2, "before"), (2, "after")])
def test_cut_at_any_batch_applied_or_not_it_goes_on_and_ends_the_same(kept: int, fails: tuple[int, str]) -> None:
    store = Store(CHAIN[:kept], fails)
    with pytest.raises(Unavailable):
        restored(store, CHAIN)
    unfinished = store.finished
    assert unfinished is None
    store.fails = (0, "")
    restored(store, CHAIN, published_seq=len(CHAIN))
    assert store.chain == CHAIN
    assert store.finished is not None
    assert store.finished[0] == len(CHAIN)
    assert restored(store, CHAIN).last_seq == len(CHAIN)
    assert store.finished[1] is None, "nothing came back, and nothing is told"


def test_an_altered_event_is_never_written() -> None:
    bad = [*CHAIN[:9], replace(CHAIN[9], actor_id="operator:mallory"), *CHAIN[10:]]
    store = Store()
    with pytest.raises(Refused, match="does not verify"):
        restored(store, bad)
    assert store.chain == []


@pytest.mark.parametrize("cut", [CHAIN[1:], [*CHAIN[:5], *CHAIN[6:]], [*CHAIN[:5], CHAIN[6], CHAIN[5], *CHAIN[7:]]])
def test_a_chain_with_a_hole_or_out_of_order_is_refused(cut: list[AuditEvent]) -> None:
    with pytest.raises(Refused, match="does not verify"):
        restored(Store(), cut)


def test_another_chain_is_refused_wherever_the_database_ends() -> None:
    other = audit_events(Key(), len(CHAIN))
    for kept in (1, BATCH_EVENTS, len(CHAIN)):
        store = Store([replace(event, hash=f"{number:064x}") for number, event in enumerate(other[:kept])])
        before = list(store.chain)
        with pytest.raises(Refused, match="one of them is a fork"):
            restored(store, CHAIN)
        assert store.chain == before


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(Refused, match="contains no audit event"):
        restored(Store(), [])


def test_a_repeat_is_passed_over_and_another_event_under_its_seq_is_a_fork() -> None:
    found = Collector()
    assert list(once([*CHAIN[:6], *CHAIN[3:9]], found)) == CHAIN[:9]
    assert (len(found), found.report().counts) == (0, {"repeats": 3})
    list(once([*CHAIN[:3], replace(CHAIN[1], hash="0" * 64)], found))
    assert [finding.code for finding in found.report().findings] == ["audit.fork"]


@pytest.mark.parametrize(
    ("ours", "theirs", "codes"),
    [
        (CHAIN[:9], CHAIN[:9], []),
        (CHAIN[:9], CHAIN[:5], []),
        (CHAIN[:5], CHAIN[:9], ["audit.truncated"]),
        ([], CHAIN[:9], ["audit.truncated"]),
        (CHAIN[:9], [*CHAIN[:4], *(replace(event, hash="0" * 64) for event in CHAIN[4:9])], ["audit.contradiction"]),
    ],
)
def test_two_copies_side_by_side(ours: list[AuditEvent], theirs: list[AuditEvent], codes: list[str]) -> None:
    found = Collector()
    assert list(along(ours, iter(theirs), "topic", found, must_reach=True)) == ours
    assert [finding.code for finding in found.report().findings] == codes
