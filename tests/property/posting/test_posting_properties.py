"""Any bytes are a draft or Rejected, never another failure; any valid event becomes an entry that decodes again."""

from __future__ import annotations

import hashlib
import json

import msgspec
import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from consumers.posting.decision import decide
from ledger_core.books.entries import decode_entry
from ledger_core.books.event_rules import OCCURRED_AT_US_MAX, RECORDED_AT_MS_MAX, RECORDED_AT_MS_MIN
from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.books.money import CURRENCIES_1
from ledger_core.books.settlements import LineFields, SettlementRecord
from ledger_core.canonical import decode as decode_canonical
from ledger_core.errors import Rejected, RejectReason
from ledger_core.ports import Record
from ledger_core.posting.entry_bytes import entry_bytes
from ledger_core.posting.plans import Decided, Draft, Rejection
from ledger_core.posting.rules import content_of, draft
from ledger_core.posting.sequencing import sequence
from schemas.wire.settlements import decode_settlement
from tests.simulator.ledger import MemoryLedger, genesis
from tests.support.settlements import TOPIC, event_id, record, sale, settlement, wire

RICH = settlement(
    1, lines=sale() + [("expense:x", s, 1, "EUR", "m\u00e9mo") for s in ("debit", "credit")],
    provider=("stripe", "ch_1", 10_000, "USD"), reverses=event_id(2), pii_digest="ab" * 32,
    metadata={"channel": "web", "note": "\U0001f4b8"},
)  # fmt: skip
RICH_BYTES = wire(RICH)

texts = st.text(st.characters(codec="utf-8"), max_size=40)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,20}", fullmatch=True)
words = st.from_regex(r"[a-z][a-z0-9_.-]{0,10}", fullmatch=True)
uuids = st.uuids().map(str)
nfc = texts.filter(lambda text: not _is_bad(text))
accounts = st.builds(
    lambda kind, rest: f"{kind}:{rest}",
    st.sampled_from(("asset", "liability", "equity", "revenue", "expense")),
    st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,10}(:[a-z0-9]{1,5}){0,2}", fullmatch=True),
)


def _is_bad(text: str) -> bool:
    try:
        draft(settlement(metadata={"k": text}), b"st-1")
    except Rejected:
        return True
    return False


@st.composite
def balanced(pick: st.DrawFn) -> list[LineFields]:
    """For each leg its counter-leg, mixed."""
    lines: list[LineFields] = []
    for _ in range(pick(st.integers(1, 4))):
        amount, currency = pick(st.integers(1, AMOUNT_MINOR_MAX)), pick(st.sampled_from(sorted(CURRENCIES_1)))
        memo = pick(st.none() | nfc)
        lines.append((pick(accounts), "debit", amount, currency, memo))
        lines.append((pick(accounts), "credit", amount, currency, None))
    return list(pick(st.permutations(lines)))


events = st.builds(
    SettlementRecord,
    event_id=uuids,
    event_type=st.from_regex(r"[a-z][a-z0-9_.]{0,20}", fullmatch=True),
    settlement_id=names,
    order_id=names,
    occurred_at_us=st.integers(0, OCCURRED_AT_US_MAX),
    lines=balanced(),
    provider=st.none()
    | st.tuples(names, names, st.integers(1, AMOUNT_MINOR_MAX), st.sampled_from(sorted(CURRENCIES_1))),
    reverses=st.none(),
    pii_digest=st.none(),
    metadata=st.dictionaries(words, nfc, max_size=4),
)


@st.composite
def mutated(pick: st.DrawFn) -> bytes:
    data = bytearray(RICH_BYTES)
    for _ in range(pick(st.integers(1, 4))):
        at = pick(st.integers(0, len(data)))
        how = pick(st.sampled_from(("change", "cut", "insert", "double")))
        if how == "change" and at < len(data):
            data[at] = pick(st.integers(0, 255))
        elif how == "cut":
            del data[at : at + pick(st.integers(1, 20))]
        elif how == "insert":
            data[at:at] = pick(st.binary(min_size=1, max_size=12))
        else:
            data[at:at] = data[at : at + pick(st.integers(1, 60))]
    return bytes(data)


# Headers that make it past the frame, so that random bytes reach the decoder's inside.
framed = st.binary(max_size=300).map(lambda data: RICH_BYTES[:5] + data)
deep = st.builds(lambda at, data: RICH_BYTES[:at] + data, st.integers(5, len(RICH_BYTES)), st.binary(max_size=120))


@settings(max_examples=1500, deadline=None)
@given(st.binary(max_size=200) | framed | deep | mutated(), st.none() | st.binary(max_size=20) | st.just(b"st-1"))
@example(RICH_BYTES[:5] + b"\xff" * 9 + b"\x01", b"st-1")
@example(RICH_BYTES[:5] + b"\x80" * 20, b"st-1")
def test_any_bytes_are_a_draft_or_rejected_and_the_same_each_time(value: bytes, key: bytes | None) -> None:
    made = Record(TOPIC, 0, 0, 1_762_000_000_000, key, value)
    decided = decide(made)
    assert decided == decide(made)
    plan = sequence(genesis(0, TOPIC), [decided], {})
    assert len(plan.posted) + len(plan.verdicts) == 1
    if isinstance(decided.outcome, Rejection):
        (verdict,) = plan.verdicts
        assert verdict.reason in set(RejectReason)
        assert "\0" not in verdict.detail, "Postgres stores no NUL in a text"
        assert len(verdict.detail) < 1_000
        verdict.detail.encode()


@settings(max_examples=200, deadline=None)
@given(events, st.integers(0, 2**40), st.integers(RECORDED_AT_MS_MIN, RECORDED_AT_MS_MAX))
def test_any_valid_event_becomes_a_canonical_entry_that_says_the_same(
    event: SettlementRecord, offset: int, timestamp_ms: int
) -> None:
    assert decode_settlement(wire(event)) == event
    made = Record(TOPIC, 0, 0, timestamp_ms, event.settlement_id.encode(), wire(event))
    decided = decide(made)
    assert isinstance(decided.outcome, Draft)
    (posted,) = sequence(genesis(0, TOPIC), [decided], {}).posted
    entry = decode_entry(posted.body)
    assert [(e.account, e.side, int(e.amount_minor), e.currency, e.memo) for e in entry.lines] == event.lines
    assert (entry.event_id, entry.settlement_id, entry.metadata) == (
        event.event_id,
        event.settlement_id,
        event.metadata,
    )
    assert posted.entry_hash == hashlib.sha256(posted.body).digest()
    assert rfc8785.dumps(json.loads(posted.body)) == posted.body
    decode_canonical(posted.body)


@settings(max_examples=200, deadline=None)
@given(events, st.none() | uuids, st.booleans(), st.integers(1, 2**53), st.sampled_from((TOPIC, "a.b", 'quote"d', "é")))
def test_entry_is_written_as_its_type_would_encode_it(
    event: SettlementRecord, reverses: str | None, has_pii: bool, seq: int, topic: str
) -> None:
    digest = "ab" * 32 if has_pii else None
    made = draft(msgspec.structs.replace(event, reverses=reverses, pii_digest=digest), event.settlement_id.encode())
    body = entry_bytes(made, 3, seq, Record(topic, 3, seq, 1_762_000_000_000, None, None))
    entry = decode_entry(body)  # encodes again, and compares
    assert content_of(entry) == content_of(made)
    assert (entry.shard, entry.seq, entry.source.topic, entry.recorded_at) == (
        3, str(seq), topic, "2025-11-01T12:26:40.000000Z",
    )  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(events, st.data())
def test_no_bytes_are_written_for_lines_that_do_not_balance(event: SettlementRecord, data: st.DataObject) -> None:
    made = draft(event, event.settlement_id.encode())
    gone = data.draw(st.integers(0, len(made.lines) - 1))
    off = msgspec.structs.replace(made, lines=[line for at, line in enumerate(made.lines) if at != gone])
    for lines in (off.lines, []):
        with pytest.raises(ValueError, match=r"unbalanced|needs lines"):
            entry_bytes(msgspec.structs.replace(made, lines=lines), 0, 1, record(0, event))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.booleans()), max_size=25), st.data())
def test_verdicts_do_not_depend_on_where_batches_are_cut(
    asked: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    records = [
        record(offset, settlement(n, lines=sale(1_000 + variant)[: 3 if good else 2]))
        for offset, (n, variant, good) in enumerate(asked)
    ]
    assert _cut(records, data.draw(st.integers(1, 7))) == _cut(records, len(records) + 1)


def _cut(records: list[Record], size: int) -> tuple[list[bytes], list[bytes], object]:
    ledger = MemoryLedger(heads={0: genesis(0, TOPIC)})
    for start in range(0, len(records), size):
        batch: list[Decided] = [decide(item) for item in records[start : start + size]]
        ledger.write(sequence(ledger.heads[0], batch, ledger.first), 0)
    entries = [item.body + item.entry_hash for item in ledger.posted.get(0, [])]
    return entries, [verdict.line for verdict in ledger.unposted.get(0, [])], ledger.heads[0]
