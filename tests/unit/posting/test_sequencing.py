"""Verdicts, places in the chain and new heads of one batch: duplicates, conflicts, reversals, holes; verdict lines."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
import pytest

from consumers.posting.decision import decide
from ledger_core.books.entries import decode_entry
from ledger_core.books.settlements import SettlementRecord
from ledger_core.chain import link
from ledger_core.errors import Corrupt
from ledger_core.ports import Record
from ledger_core.posting.plans import Known, Plan
from ledger_core.posting.rules import content_hash, content_of, draft
from ledger_core.posting.sequencing import event_ids, sequence
from ledger_core.posting.verdicts import VerdictLine, decode_verdict, encode_verdict, verdicts_hash
from tests.simulator.ledger import genesis
from tests.support.settlements import APPENDED_AT_MS, TOPIC, event_id, record, sale, settlement

HEAD = genesis(0, TOPIC)


def _plan(*records: Record, known: Mapping[str, Known] | None = None) -> Plan:
    return sequence(HEAD, [decide(item) for item in records], known or {})


def _first_verdict(fields: SettlementRecord, shard: int = 0) -> dict[str, Known]:
    """As the store would find it after the event was posted."""
    posted = sequence(genesis(shard, TOPIC), [decide(record(0, fields, shard=shard))], {}).posted[0]
    return {fields.event_id: Known(shard, posted.seq, posted.body)}


def _told(plan: Plan) -> list[tuple[int, str, bool]]:
    return [(v.offset, v.reason, v.first_verdict) for v in plan.verdicts]


def test_entries_are_chained_from_the_head_and_numbered_without_a_gap() -> None:
    plan = _plan(record(0, settlement(1)), record(1, settlement(2)))
    one, two = plan.posted
    assert (one.seq, two.seq, plan.after.seq) == (1, 2, 2)
    assert one.entry_hash == link(one.body, None)
    assert two.entry_hash == plan.after.head_hash == link(two.body, one.entry_hash)
    entry = decode_entry(two.body)
    assert (entry.seq, entry.source.offset, entry.recorded_at) == ("2", "1", "2025-11-01T12:26:40.001000Z")
    assert APPENDED_AT_MS == 1_762_000_000_000


def test_batch_after_a_posted_one_continues_it() -> None:
    whole = _plan(record(0, settlement(1)), record(1, settlement(2)))
    first = _plan(record(0, settlement(1)))
    second = sequence(first.after, [decide(record(1, settlement(2)))], {})
    assert second.after == whole.after
    assert [p.body for p in first.posted + second.posted] == [p.body for p in whole.posted]


@pytest.mark.parametrize("apart", [True, False])
def test_same_event_twice_posts_once_in_one_batch_and_across_batches(apart: bool) -> None:
    again = settlement(1, occurred_at_us=9)
    if apart:
        plan = _plan(record(0, again), known=_first_verdict(settlement(1)))
    else:
        plan = _plan(record(0, settlement(1)), record(1, again))
    (verdict,) = plan.verdicts
    assert (verdict.kind, verdict.reason, verdict.seq, verdict.first_verdict) == (
        "duplicate",
        "already_posted",
        1,
        False,
    )
    assert plan.after.duplicates == 1
    assert verdict.content_hash == content_hash(content_of(draft(again, b"st-1")))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lines": sale(9_999)}, "lines"),
        ({"lines": sale()[::-1]}, "lines"),
        ({"order_id": "o", "metadata": {"a": "b"}}, "metadata, order_id"),
        ({"event_type": "settlement.refunded"}, "event_type"),
        ({"settlement_id": "st-9"}, "settlement_id"),
        ({"provider": ("p", "r", 1, "USD")}, "provider"),
        ({"reverses": event_id(5)}, "reverses"),
        ({"pii_digest": "ab" * 32}, "pii_digest"),
    ],
)
def test_other_content_is_a_conflict_that_names_what_differs(change: dict[str, object], named: str) -> None:
    for plan in (
        _plan(record(0, settlement(1, **change)), known=_first_verdict(settlement(1))),
        _plan(record(0, settlement(1)), record(1, settlement(1, **change))),
    ):
        (verdict,) = plan.verdicts
        assert (verdict.reason, verdict.first_verdict) == ("conflict", False)
        assert verdict.detail.endswith(f"with other content: {named}")


def test_event_posted_by_another_shard_is_a_conflict_even_with_the_same_content() -> None:
    plan = _plan(record(0, settlement(1)), known=_first_verdict(settlement(1), shard=1))
    assert _told(plan) == [(0, "conflict", False)]
    assert "shard 1" in plan.verdicts[0].detail


def test_first_rejection_is_the_verdict_for_ever_and_later_ones_are_not_first() -> None:
    bad = settlement(1, lines=sale()[:2])
    plan = _plan(record(0, bad), record(1, bad), record(2, settlement(1)), record(3, bad))
    assert _told(plan) == [
        (0, "unbalanced", True), (1, "unbalanced", False), (2, "conflict", False), (3, "unbalanced", False),
    ]  # fmt: skip
    assert plan.verdicts[0].content_hash == hashlib.sha256(record(0, bad).value or b"").digest()
    assert "was rejected before (unbalanced)" in plan.verdicts[2].detail


def test_bad_asking_about_a_posted_event_changes_nothing() -> None:
    plan = _plan(record(0, settlement(1)), record(1, settlement(1, lines=sale()[:2])), record(2, settlement(1)))
    assert _told(plan) == [(1, "unbalanced", False), (2, "already_posted", False)]


def test_reversal_needs_an_entry_of_this_shard_and_its_refusal_is_for_ever() -> None:
    turned = settlement(2, reverses=event_id(1))
    assert len(_plan(record(0, settlement(1)), record(1, turned)).posted) == 2
    assert len(_plan(record(0, turned), known=_first_verdict(settlement(1))).posted) == 1
    elsewhere = _plan(record(0, turned), known=_first_verdict(settlement(1), shard=1))
    assert _told(elsewhere) == [(0, "unknown_reversal", True)]
    late = _plan(record(0, turned), record(1, settlement(1)), record(2, turned), record(3, settlement(2)))
    assert _told(late) == [(0, "unknown_reversal", True), (2, "unknown_reversal", False), (3, "conflict", False)]
    rejected = _plan(record(0, settlement(1, lines=sale()[:2])), record(1, turned))
    assert _told(rejected) == [(0, "unbalanced", True), (1, "unknown_reversal", True)]


def test_every_offset_of_a_hole_gets_its_own_verdict() -> None:
    plan = _plan(record(2, settlement(1)), record(4, settlement(2)))
    assert _told(plan) == [(0, "no_record", False), (1, "no_record", False), (3, "no_record", False)]
    assert all(v.record is None and v.event_id is None and v.content_hash is None for v in plan.verdicts)
    assert (plan.after.next_offset, plan.after.posted, plan.after.rejected) == (5, 2, 3)


@pytest.mark.parametrize("offsets", [(0, 0), (1, 0)])
def test_an_offset_that_was_taken_is_not_taken_again(offsets: tuple[int, ...]) -> None:
    with pytest.raises(Corrupt, match="came where"):
        _plan(*(record(offset, settlement(n)) for n, offset in enumerate(offsets)))


def test_a_hole_is_the_same_in_one_plan_as_in_steps() -> None:
    whole = _plan(record(7, settlement(1)))
    head = HEAD
    lines: list[bytes] = []
    for upto in (3, 6):
        step = sequence(head, [], {}, upto=upto)
        assert (step.after.next_offset, step.posted) == (upto, [])
        head, lines = step.after, [*lines, *(v.line for v in step.verdicts)]
    last = sequence(head, [decide(record(7, settlement(1)))], {})
    assert last.after == whole.after
    assert [*lines, *(v.line for v in last.verdicts)] == [v.line for v in whole.verdicts]


def test_ids_to_look_up_are_those_to_compare_and_those_that_are_only_named() -> None:
    batch = [
        decide(record(0, settlement(1))),
        decide(record(1, settlement(2, reverses=event_id(9)))),
        decide(record(2, settlement(3, lines=[]))),
        decide(record(3, value=b"bad")),
    ]
    assert event_ids(batch) == ([event_id(1), event_id(2)], [event_id(9), event_id(3)])


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 946_684_799_999, 7_258_118_400_000, 253_402_300_799_000, 2**63 - 1])
def test_record_with_an_impossible_time_is_rejected_and_raises_nothing(timestamp_ms: int) -> None:
    """A topic that is not LogAppendTime takes any number from a publisher."""
    plan = _plan(msgspec.structs.replace(record(0, settlement(1)), timestamp_ms=timestamp_ms))
    assert _told(plan) == [(0, "bad_field", False)]


def test_verdict_lines_are_canonical_and_say_what_is_known() -> None:
    plan = _plan(record(1, value=b"bad", key=b"k"), record(2, settlement(1, lines=[])), record(3))
    digest = hashlib.sha256(b"bad").hexdigest()
    assert plan.verdicts[0].line == b'{"offset":"0","reason":"no_record","verdict":"rejected"}'
    assert plan.verdicts[1].line == (
        b'{"content_hash":"%(value)s","key_sha256":"%(key)s","offset":"1","reason":"malformed",'
        b'"value_sha256":"%(value)s","verdict":"rejected"}'
        % {b"key": hashlib.sha256(b"k").hexdigest().encode(), b"value": digest.encode()}
    )
    assert decode_verdict(plan.verdicts[2].line).event_id == event_id(1)
    empty = decode_verdict(plan.verdicts[3].line)
    assert (empty.key_sha256, empty.value_sha256) == (None, None), "a record without key and value"


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b'{"offset":"1","reason":"x","verdict":"posted"}', b'{"reason":"x","offset":"1","verdict":"rejected"}',
     b'{"offset":"1","reason":"x","verdict":"rejected"} ', b'{"offset":1,"reason":"x","verdict":"rejected"}',
     b'{"event_id":null,"offset":"1","reason":"x","verdict":"rejected"}',
     b'{"offset":"1","offset":"1","reason":"x","verdict":"rejected"}',
     b'{"more":"","offset":"1","reason":"x","verdict":"rejected"}'],
)  # fmt: skip
def test_verdict_line_in_any_other_form_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode_verdict(line)


def test_verdicts_hash_ends_every_line_and_is_that_of_nothing_without_one() -> None:
    lines = [encode_verdict(VerdictLine(offset=str(n), reason="no_record", verdict="rejected")) for n in (1, 2)]
    assert verdicts_hash(lines) == hashlib.sha256(b"".join(line + b"\n" for line in lines)).digest()
    assert verdicts_hash([]) == hashlib.sha256(b"").digest()
