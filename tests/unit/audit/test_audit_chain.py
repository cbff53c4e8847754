"""The audit chain as Kernel reads it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ledger_core.audit import events as audit_chain
from ledger_core.audit.events import AuditEvent
from ledger_core.ports import AuditIntent
from ledger_core.signing.registry import RegisteredSigner, SignerRegistry
from ledger_core.signing.signatures import BadSignature
from ledger_core.signing.validity import Interval, Validity
from ledger_core.verify.audit import check_audit
from tests.support.archive_factory import Key
from tests.support.audit_factory import CREATED_AT, audit_events

KEY = Key("ed25519")
ROOT = Path(__file__).parents[3]
INTENT = AuditIntent("ledger.halted", "operator:ada", {"reason": "drill"}, "ab" * 16)


def test_hash_is_over_the_canonical_payload_and_the_raw_previous_hash() -> None:
    first, second = audit_events(KEY, 2)
    for event, prev in ((first, b""), (second, bytes.fromhex(first.hash))):
        canonical = json.dumps(event.payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert event.hash == hashlib.sha256(canonical + prev).hexdigest()
    assert (first.prev_hash, second.prev_hash) == (None, first.hash)


def test_payload_repeats_every_column_that_kernel_does_not_hash() -> None:
    event = audit_events(KEY, 3)[2]
    assert event.payload == {
        "shard": 0,
        "range_no": "2",
        "proof_hash": "ab" * 32,
        "id": "event-2",
        "seq": "3",
        "event_type": "journal.adopted",
        "actor_id": "service:prover",
        "created_at": "2025-11-01T12:00:00.002123Z",
        "trace_id": "ab" * 16,
    }


def test_created_at_increases_by_whole_milliseconds_even_for_one_moment() -> None:
    events = audit_events(KEY, 3)
    assert [event.created_at - CREATED_AT for event in events] == [dt.timedelta(milliseconds=n) for n in range(3)]
    later = audit_chain.next_event(events[-1], INTENT, event_id="x", created_at=CREATED_AT + dt.timedelta(seconds=1))
    assert later.created_at == CREATED_AT + dt.timedelta(seconds=1)


def test_an_event_survives_the_topic() -> None:
    for event in audit_events(KEY):
        assert AuditEvent.from_json(event.to_json()) == event


@pytest.mark.parametrize("payload", [{"seq": "1"}, {"id": "x"}, {"price": 1.5}, {"t": CREATED_AT}, {"n": 2**60}])
def test_an_intent_that_could_never_be_chained_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        audit_chain.check_intent(AuditIntent("x", "y", payload, ""))


def test_nothing_is_signed_by_another_key() -> None:
    unsigned = audit_chain.next_event(None, INTENT, event_id="x", created_at=CREATED_AT)
    with pytest.raises(BadSignature):
        unsigned.signed(Key("ed25519", "other").sign_digest(unsigned.digest), KEY.registry.get(KEY.kid))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seq":"1"', b'"seq":1'),
        (b'"seq":"1"', b'"seq":"01"'),
        (b'"prev_hash":null', b'"prev_hash":0'),
        (b'"signer_kid"', b'"signerId"'),
        (b"000123Z", b"123Z"),
        (b'{"actor_id"', b'{ "actor_id"'),
    ],
)
def test_another_spelling_is_refused(old: bytes, new: bytes) -> None:
    data = audit_events(KEY, 1)[0].to_json()
    assert old in data
    with pytest.raises(ValueError, match=r".+"):
        AuditEvent.from_json(data.replace(old, new))


(SIGNER,) = KEY.registry.signers
PAST = CREATED_AT - dt.timedelta(1)
RETIRED = dataclasses.replace(SIGNER, retired_at=PAST)
REVOKED = dataclasses.replace(RETIRED, revoked_at=PAST, validity=Validity(audit=Interval(1, 1)))
SECOND = audit_events(KEY, 2)[1]
FAULTS: dict[str, tuple[dict[str, object], RegisteredSigner, str]] = {
    "another id": ({"id": "x"}, SIGNER, "payload"),
    "another seq": ({"seq": 99}, SIGNER, "payload"),
    "another type": ({"event_type": "x"}, SIGNER, "payload"),
    "another actor": ({"actor_id": "x"}, SIGNER, "payload"),
    "another time": ({"created_at": PAST}, SIGNER, "payload"),
    "another payload": ({"payload": {**SECOND.payload, "range_no": "7"}}, SIGNER, "hash"),
    "another place": ({"prev_hash": "ab" * 32}, SIGNER, "hash"),
    "no hash before it": ({"prev_hash": "rubbish"}, SIGNER, "hash"),
    "another signature": ({"signature": audit_events(KEY)[2].signature}, SIGNER, "signature"),
    "no key that is known": ({"signer_kid": "x"}, SIGNER, "signer"),
    "a key that had ended": ({}, RETIRED, "retired"),
    "a key that was revoked": ({}, REVOKED, "validity"),
}


@pytest.mark.parametrize(("changed", "signer", "code"), FAULTS.values(), ids=FAULTS)
def test_whether_an_event_counts_is_one_question_with_one_answer(
    changed: dict[str, Any], signer: RegisteredSigner, code: str
) -> None:
    registry = SignerRegistry((signer,))
    fault = audit_chain.fault_of(dataclasses.replace(SECOND, **changed), registry)
    assert fault is not None
    assert fault.code == code
    assert fault.message


def test_an_event_that_counts_has_no_fault() -> None:
    assert [audit_chain.fault_of(event, KEY.registry) for event in audit_events(KEY)] == [None] * 4


def test_nobody_else_asks_for_hash_and_signature_of_an_event() -> None:
    """The oracle alone names each reason, as a finding of its own."""
    asking = {
        path.relative_to(ROOT).as_posix()
        for floor in ("ledger_core", "schemas", "producers", "consumers", "finance")
        for path in (ROOT / floor).rglob("*.py")
        if re.search(r"audit\.events import .*\b(event_hash|faults_of)\b", path.read_text(encoding="utf-8"))
    }
    assert asking == {"ledger_core/verify/audit.py"}


def test_an_id_that_stands_on_the_chain_twice_is_found_by_its_seq() -> None:
    prev, events = None, []
    for number in range(9):
        unsigned = audit_chain.next_event(prev, INTENT, event_id=f"event-{number % 7}", created_at=CREATED_AT)
        events.append(unsigned.signed(KEY.sign_digest(unsigned.digest), SIGNER))
        prev = unsigned
    report = check_audit(events, KEY.registry)
    assert [(found.code, found.seq, found.field) for found in report.findings] == [
        ("audit.id", 8, "id"),
        ("audit.id", 9, "id"),
    ]
    assert check_audit(events[:7], KEY.registry).sound
