"""Whatever is changed in what was signed, chained or stored, the oracle finds it."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import gzip
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger_core.audit.events import AuditEvent
from ledger_core.proving import checkpoint
from ledger_core.proving.range_proof import assemble_proof
from ledger_core.signing import notes
from ledger_core.signing.signatures import BadSignature
from ledger_core.verify.oracle import (
    AuditHead,
    verify_archive,
    verify_audit,
    verify_audit_lines,
    verify_batch,
    verify_ledger,
    verify_proof,
)
from tests.simulator.ledger import MemoryLedger
from tests.simulator.tiny_shards import add_shard
from tests.support.archive_factory import ENV, Key, MemoryStore, archive_of, closed_of, cut_of
from tests.support.audit_factory import audit_events
from tests.support.journal_factory import TinyShard

KEYS = [Key("ed25519"), Key("rsa-sha256")]
CUTS = [(5, 6), (12, 14), (15, 20)]


def shard() -> TinyShard:
    return TinyShard().post(5).silence(2).post(7).silence(1, reason="malformed").post(3).silence(2).post(4)


@cache
def made_once(which: int) -> MemoryLedger:
    made = MemoryLedger()
    add_shard(made, shard(), CUTS, KEYS[which])
    add_shard(made, TinyShard(1).silence(3).post(2, currency="EUR"), [(0, 2), (2, 5)], KEYS[which])
    return made


def ledger(which: int = 0) -> MemoryLedger:
    """A ledger of two shards; its lists may be edited."""
    return copy.deepcopy(made_once(which))


STORE = MemoryStore()
OBJECT_KEYS = archive_of(shard(), CUTS, KEYS[0], STORE)
CLOSED = closed_of(cut_of(shard(), None, *CUTS[0]), shard(), KEYS[0], 1, None)
PROOFS = [
    assemble_proof(closed.payload, key.sign_digest(closed.hash))
    for key in KEYS
    for closed in [closed_of(cut_of(shard(), None, *CUTS[0]), shard(), key, 1, None)]
]
NOTES = [
    notes.assemble(CLOSED.checkpoint_text, key.kid, key.public, key.sign_text(CLOSED.checkpoint_text)) for key in KEYS
]
EVENTS = audit_events(KEYS[0])


def changed(data: bytes, draw: st.DataObject) -> bytes:
    """One byte changed, taken out, or put in."""
    at = draw.draw(st.integers(0, len(data) - 1), label="at")
    byte = bytes([draw.draw(st.integers(0, 255), label="byte")])
    how = draw.draw(st.sampled_from(["change", "take", "put"]), label="how")
    result = data[:at] + (b"" if how == "take" else byte) + data[at + (how != "put") :]
    return result if result != data else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("which", [0, 1])
def test_what_nobody_changed_is_sound(which: int) -> None:
    assert verify_proof(PROOFS[which], KEYS[which].registry).sound
    assert verify_ledger(ledger(which), KEYS[which].registry).sound
    assert verify_audit(audit_events(KEYS[which]), KEYS[which].registry).sound
    checkpoint.parse_and_verify(NOTES[which], KEYS[which].registry)
    assert verify_archive(STORE, ENV, KEYS[0].registry).sound


@settings(max_examples=500)
@given(st.sampled_from([0, 1]), st.data())
def test_any_changed_byte_of_a_proof_is_found(which: int, data: st.DataObject) -> None:
    tampered = changed(PROOFS[which], data)
    if tampered == PROOFS[which] + b"\n":
        return  # one LF at the end of a file is allowed
    assert not verify_proof(tampered, KEYS[which].registry).sound


@settings(max_examples=500)
@given(st.sampled_from([0, 1]), st.data())
def test_any_changed_byte_of_a_checkpoint_is_found(which: int, data: st.DataObject) -> None:
    with pytest.raises((BadSignature, ValueError)):
        checkpoint.parse_and_verify(changed(NOTES[which], data), KEYS[which].registry)


@settings(max_examples=300)
@given(st.data())
def test_any_changed_byte_of_a_batch_is_found(data: st.DataObject) -> None:
    """The first batch alone: its chain and tree begin at genesis, so that nothing in it is taken on trust."""
    lines = gzip.decompress(STORE.get(OBJECT_KEYS[0]))
    assert verify_batch(lines, KEYS[0].registry).sound
    tampered = changed(lines, data)
    report = verify_batch(tampered, KEYS[0].registry)
    free = (b'"pii_policy_version"', b'"pii_included"')  # said by the metadata alone; the manifest's digest covers them
    if report.sound:
        assert any(name in lines.split(b"\n")[0] for name in free)
        before, after = lines.split(b"\n", 1), tampered.split(b"\n", 1)
        assert before[1] == after[1]
    store = MemoryStore({key: list(versions) for key, versions in STORE.objects.items()})
    store.replace(OBJECT_KEYS[0], gzip.compress(tampered))
    assert not verify_archive(store, ENV, KEYS[0].registry).sound


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_changed_byte_of_any_stored_object_is_found(data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(STORE.objects)))
    store = MemoryStore({name: list(versions) for name, versions in STORE.objects.items()})
    store.replace(key, changed(STORE.get(key), data))
    assert not verify_archive(store, ENV, KEYS[0].registry).sound


@settings(max_examples=500)
@given(st.data())
def test_any_changed_byte_of_an_audit_event_is_found(data: st.DataObject) -> None:
    lines = b"".join(event.to_json() + b"\n" for event in EVENTS)
    assert verify_audit_lines(lines, KEYS[0].registry).sound
    head = AuditHead(len(EVENTS), EVENTS[-1].hash)
    tampered = changed(lines, data)
    assert not verify_audit_lines(tampered, KEYS[0].registry, expected=[head]).sound


@settings(max_examples=300)
@given(st.integers(0, 3), st.sampled_from([field.name for field in dataclasses.fields(AuditEvent)]), st.data())
def test_any_changed_field_of_an_audit_event_is_found_at_its_place(index: int, name: str, data: st.DataObject) -> None:
    event = EVENTS[index]
    old = getattr(event, name)
    if isinstance(old, dt.datetime):
        new: Any = old + dt.timedelta(microseconds=data.draw(st.sampled_from([-5, -1, 1, 5])))
    elif isinstance(old, dict):
        new = {**old, data.draw(st.sampled_from(["range_no", "seq", "id", "extra"])): "other"}
    elif isinstance(old, int):
        new = old + data.draw(st.sampled_from([-1, 1, 1000]))
    else:
        new = data.draw(st.sampled_from(["", "zz", "0" * 64, (old or "").upper() + " ", "service:other"]))
    events = [*EVENTS[:index], dataclasses.replace(event, **{name: new}), *EVENTS[index + 1 :]]
    report = verify_audit(events, KEYS[0].registry)
    assert not report.sound
    if name != "seq":
        assert event.seq in {finding.seq for finding in report.findings}


@settings(max_examples=100)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=4).filter(lambda order: order != [0, 1, 2, 3]))
def test_a_chain_with_events_left_out_swapped_or_repeated_is_found(order: list[int]) -> None:
    events = [EVENTS[index] for index in order]
    assert not verify_audit(events, KEYS[0].registry, expected=[AuditHead(4)]).sound


TABLES = (
    "shard_rows",
    "entry_rows",
    "line_rows",
    "account_rows",
    "balance_rows",
    "verdict_rows",
    "range_rows",
    "signed_notes",
)


def other(old: object, draw: st.DataObject) -> object:
    if isinstance(old, bytes):
        at = draw.draw(st.integers(0, len(old) - 1)) if old else 0
        return old[:at] + bytes([old[at] ^ draw.draw(st.integers(1, 255))]) + old[at + 1 :] if old else b"x" * 32
    if isinstance(old, dt.datetime):
        return old + dt.timedelta(microseconds=1)
    if isinstance(old, int):
        return -old if old in (-1, 1) else old + draw.draw(st.sampled_from([1, -1]))
    if old is None:
        return b"x" * 32
    return draw.draw(st.sampled_from(["duplicate", "rejected", "asset:other", "EUR", "USD", "x"]).filter(old.__ne__))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TABLES), st.data())
def test_any_edited_column_of_any_row_of_the_ledger_is_found(table: str, data: st.DataObject) -> None:
    made = ledger()
    tables = getattr(made, table)
    rows = tables if table == "shard_rows" else tables[data.draw(st.sampled_from([n for n in tables if tables[n]]))]
    at = data.draw(st.integers(0, len(rows) - 1), label="row")
    column = data.draw(st.integers(0, len(rows[at]) - 1), label="column")
    old = rows[at][column]
    if table == "verdict_rows" and old is None:
        old = None if column == 4 else ""  # content_hash is bytes, event_id text
    values = [*rows[at][:column], other(old, data), *rows[at][column + 1 :]]
    rows[at] = type(rows[at])(*values) if hasattr(rows[at], "_fields") else tuple(values)
    assert not verify_ledger(made, KEYS[0].registry).sound


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(TABLES[1:]), st.data())
def test_any_row_taken_out_or_doubled_is_found(table: str, data: st.DataObject) -> None:
    made = ledger()
    tables = getattr(made, table)
    rows = tables[data.draw(st.sampled_from([n for n in tables if tables[n]]))]
    at = data.draw(st.integers(0, len(rows) - 1), label="row")
    if table == "range_rows" and at == len(rows) - 1:
        made.signed_notes = {number: list(notes) for number, notes in made.signed_notes.items()}
    if data.draw(st.booleans(), label="double") and table != "signed_notes":
        rows.insert(at, rows[at])
    else:
        del rows[at]
    assert not verify_ledger(made, KEYS[0].registry).sound
