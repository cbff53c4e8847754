"""An event that an operator set aside means nothing to any reader; nobody else, and no other event, is set aside."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

import pytest

from ledger_core.audit import events as audit_chain
from ledger_core.audit.events import AuditEvent, UnsignedAuditEvent
from ledger_core.audit.set_aside import meaningful, places_set_aside, set_aside_intent
from ledger_core.audit.state import AuditState
from ledger_core.findings import Collector
from ledger_core.ports import AuditIntent
from ledger_core.verify.audit import AuditCheck, check_audit
from tests.support.archive_factory import Key

KEY: Final = Key("ed25519")
AT: Final = dt.datetime(2025, 11, 2, tzinfo=dt.UTC)
HASH: Final = "ab" * 32
GOOD: Final = AuditIntent("journal.adopted", "service:prover", {"shard": 0, "range_no": "1", "proof_hash": HASH}, "t")
# (what is forged, what its payload would do)
FORGED: Final[dict[str, AuditIntent]] = {
    "another actor": AuditIntent("ledger.resumed", "service:archiver", {"reason": "all clear"}, "t"),
    "another form": AuditIntent("journal.adopted", "service:prover", {"shard": 0}, "t"),
    "no type": AuditIntent("ledger.forgiven", "operator:a", {}, "t"),
    "a drill by nobody": AuditIntent("drill.completed", "service:archiver", {"sound": True}, "t"),
}


def chain(*intents: AuditIntent | None) -> list[AuditEvent]:
    """In order; None: a decision about the event before it."""
    events: list[AuditEvent] = []
    head: UnsignedAuditEvent | None = None
    for number, intent in enumerate(intents):
        said = set_aside_intent(events[-1], "forged", "operator:ada", "t") if intent is None else intent
        unsigned = audit_chain.next_event(head, said, event_id=f"e{number}", created_at=AT)
        head = unsigned.signed(KEY.sign_digest(unsigned.digest), KEY.registry.get(KEY.kid))
        events.append(head)
    return events


def found(events: Sequence[AuditEvent]) -> list[tuple[str, int | None]]:
    return [(it.code, it.seq) for it in check_audit(events, KEY.registry).findings]


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_what_means_nothing_is_a_finding_until_an_operator_sets_it_aside(forged: AuditIntent) -> None:
    assert found(chain(GOOD, forged, GOOD)) == [("audit.meaning", 2)]
    events = chain(GOOD, forged, None, GOOD)
    report = check_audit(events, KEY.registry)
    assert report.sound, report.findings
    assert report.counts["set_aside"] == 1
    assert [it.seq for it in meaningful(events, places_set_aside(events))] == [1, 3, 4]


def aside(seq: str, digest: str, actor_id: str = "operator:ada") -> AuditIntent:
    payload: dict[str, object] = {"set_aside_seq": seq, "set_aside_hash": digest, "reason": "r"}
    return AuditIntent("audit.set_aside", actor_id, payload, "t")


def test_nobody_but_an_operator_sets_aside_and_only_what_was_named() -> None:
    forged = FORGED["another actor"]
    digest = chain(GOOD, forged)[-1].hash
    assert found(chain(GOOD, forged, aside("2", digest))) == []
    assert found(chain(GOOD, forged, aside("2", digest, "service:archiver"))) == [
        ("audit.meaning", 2),
        ("audit.meaning", 3),
    ]
    assert found(chain(GOOD, forged, aside("2", HASH))) == [("audit.meaning", 2)]
    assert found(chain(GOOD, forged, aside("1", digest))) == [("audit.meaning", 2)]
    assert found(chain(GOOD, aside("3", digest), forged)) == [("audit.meaning", 3)], "what is yet to come"


def test_a_chain_stands_whatever_its_events_mean() -> None:
    """Exporter and restore check the chain alone: nobody stops them by leaving an event."""
    collector = Collector()
    check = AuditCheck(KEY.registry, collector)
    for event in chain(GOOD, *FORGED.values()):
        check.take(event)
    check.finish()
    assert collector.report().sound


def test_a_forged_event_moves_no_state() -> None:
    halted = AuditIntent("ledger.halted", "service:prover", {"reason": "r"}, "t")
    state = AuditState()
    for event in chain(halted, FORGED["another actor"]):
        state.take(event)
    assert state.halt is not None
    assert state.types == {"ledger.halted": 1, "ledger.resumed": 1}


def summed_up(*intents: AuditIntent | None) -> dict[str, object]:
    state = AuditState()
    for event in chain(*intents):
        state.take(event)
    return state.to_json()


def test_what_is_set_aside_adds_up_to_nothing_whatever_it_had_moved() -> None:
    """A thief of the ledger's key resumes posting in an operator's name, and an operator sees it and says so."""
    halted = AuditIntent("ledger.halted", "operator:ada", {"reason": "r"}, "t")
    resumed = AuditIntent("ledger.resumed", "operator:ada", {"reason": "not by her"}, "t")
    began: dict[str, object] = {
        "epoch_no": "2",
        "epoch_id": "e",
        "kind": "restore",
        "reason": "r",
        "shards": "1",
        "heads_hash": HASH,
    }
    epoch = AuditIntent("ledger.epoch_began", "operator:ada", began, "t")
    assert summed_up(halted, resumed)["halted"] is False
    assert summed_up(halted, resumed, None)["halted"] is True
    assert summed_up(halted, None)["halted"] is False
    assert summed_up(halted, resumed, halted, None)["halted"] is False, "what was before it counts again"
    assert summed_up(epoch)["epochs"] == ["restore at seq 1"]
    assert summed_up(epoch, None)["epochs"] == []
    assert summed_up(epoch, None)["set_aside"] == 1
