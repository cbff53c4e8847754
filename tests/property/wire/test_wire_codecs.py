"""Our hand-written Avro against fastavro: same bytes out, same record in, and nothing but Rejected for bad bytes."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_core.books.settlements import (
    SettlementEvent,
    SettlementLine,
    SettlementProvider,
    SettlementRecord,
    record_from_event,
)
from ledger_core.errors import Corrupt, Rejected
from schemas.wire.avro import frame, put_long, read_long
from schemas.wire.journal import JOURNAL_SCHEMA_ID, decode_journal, encode_journal
from schemas.wire.outcomes import OUTCOME_SCHEMA_ID, decode_outcome, encode_outcome
from schemas.wire.records import Outcome
from schemas.wire.settlements import SETTLEMENT_SCHEMA_ID, decode_settlement, encode_settlement
from tests.support.avro import SCHEMAS, ReadError, read, write

int64 = st.integers(-(2**63), 2**63 - 1)
texts = st.text(max_size=80) | st.text(min_size=60, max_size=70)
maps = st.dictionaries(texts, texts, max_size=4)
sides = st.sampled_from(["debit", "credit"])
lines = st.fixed_dictionaries(
    {"account": texts, "side": sides, "amount_minor": int64, "currency": texts, "memo": st.none() | texts}
)
records = st.fixed_dictionaries(
    {
        "event_id": texts,
        "event_type": texts,
        "settlement_id": texts,
        "order_id": texts,
        "occurred_at": int64,
        "lines": st.lists(lines, max_size=5) | st.lists(lines, min_size=64, max_size=66),
        "provider": st.none()
        | st.fixed_dictionaries({"name": texts, "reference": texts, "amount_minor": int64, "currency": texts}),
        "reverses": st.none() | texts,
        "pii_digest": st.none() | texts,
        "metadata": maps,
    }
)
HEAD = frame(SETTLEMENT_SCHEMA_ID)
SETTLEMENT = SCHEMAS["settlement.v1"]


def as_dict(record: SettlementRecord) -> dict[str, object]:
    """Our record in fastavro's shape."""
    fields = msgspec.structs.asdict(record)
    fields["occurred_at"] = fields.pop("occurred_at_us")
    names = ("account", "side", "amount_minor", "currency", "memo")
    fields["lines"] = [dict(zip(names, line, strict=True)) for line in record.lines]
    if record.provider is not None:
        fields["provider"] = dict(zip(("name", "reference", "amount_minor", "currency"), record.provider, strict=True))
    return fields


@given(records)
def test_what_fastavro_writes_we_read_the_same(record: dict[str, Any]) -> None:
    assert as_dict(decode_settlement(HEAD + write(SETTLEMENT, record))) == record


amounts = st.integers(1, 10**15)


@st.composite
def events(draw: st.DrawFn) -> SettlementEvent:
    amount = draw(amounts)
    line = st.tuples(texts, st.none() | texts)
    (debit, debit_memo), (credit, credit_memo) = draw(line), draw(line)
    name = st.text(min_size=1, max_size=70)
    return SettlementEvent(
        event_id=str(draw(st.uuids())),
        event_type=draw(name),
        settlement_id=draw(name),
        order_id=draw(name),
        occurred_at=draw(st.datetimes(timezones=st.just(dt.UTC))),
        lines=(
            SettlementLine(debit, "debit", amount, "USD", debit_memo),
            SettlementLine(credit, "credit", amount, "USD", credit_memo),
        ),
        provider=draw(st.none() | st.builds(SettlementProvider, texts, texts, amounts, texts)),
        reverses=draw(st.none() | st.uuids().map(str)),
        pii_digest=draw(st.none() | texts),
        metadata=draw(maps),
    )


@given(events())
def test_an_event_is_written_as_fastavro_writes_it_and_read_back(event: SettlementEvent) -> None:
    record = record_from_event(event)
    value = encode_settlement(event)
    assert value == HEAD + write(SETTLEMENT, as_dict(record))
    assert decode_settlement(value) == record


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda body: HEAD + body))
def test_random_bytes_are_rejected_or_read_and_nothing_else(value: bytes) -> None:
    with suppress(Rejected):
        assert isinstance(decode_settlement(value), SettlementRecord)


@given(records, st.data())
def test_damaged_bytes_are_rejected_or_read_as_fastavro_reads_them(record: dict[str, Any], data: st.DataObject) -> None:
    value = bytearray(HEAD + write(SETTLEMENT, record))
    for _ in range(data.draw(st.integers(1, 3))):
        value[data.draw(st.integers(5, len(value) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(5, len(value)) | st.just(len(value)))
    damaged = bytes(value[:end])
    try:
        ours = as_dict(decode_settlement(damaged))
    except Rejected:
        return
    try:
        assert read(SETTLEMENT, damaged[5:]) == ours
    except ReadError as error:
        pytest.fail(f"we read what fastavro does not: {error!r}")


@given(records)
def test_every_truncation_is_rejected(record: dict[str, Any]) -> None:
    value = HEAD + write(SETTLEMENT, record)
    for end in range(0, len(value), 1 + len(value) // 50):
        with pytest.raises(Rejected):
            decode_settlement(value[:end])


@given(int64)
def test_integers_come_back_as_they_went(number: int) -> None:
    data = put_long(number)
    assert read_long(data, 0) == (number, len(data))


@given(st.integers(max_value=-(2**63) - 1) | st.integers(min_value=2**63))
def test_integers_beyond_64_bits_are_not_written(number: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        put_long(number)


@given(st.integers(0, 2**31 - 1), int64, st.binary(max_size=300), st.binary(min_size=32, max_size=32))
def test_journal_records_are_those_of_fastavro(shard: int, seq: int, body: bytes, entry_hash: bytes) -> None:
    value = encode_journal(shard, seq, body, entry_hash)
    record = {"shard": shard, "seq": seq, "body": body, "entry_hash": entry_hash}
    assert value == frame(JOURNAL_SCHEMA_ID) + write(SCHEMAS["journal.v1"], record)
    assert msgspec.structs.asdict(decode_journal(value)) == record


outcomes = st.builds(
    Outcome,
    event_id=st.none() | texts,
    settlement_id=st.none() | texts,
    verdict=st.sampled_from(["posted", "duplicate", "rejected"]),
    reason=st.none() | texts,
    detail=st.none() | texts,
    shard=st.integers(0, 2**31 - 1),
    offset=int64,
    seq=st.none() | int64,
    entry_hash=st.none() | st.binary(min_size=32, max_size=32),
)


@given(outcomes)
def test_outcomes_are_those_of_fastavro(outcome: Outcome) -> None:
    fields = msgspec.structs.asdict(outcome)
    value = encode_outcome(**fields)
    assert value == frame(OUTCOME_SCHEMA_ID) + write(SCHEMAS["outcome.v1"], fields)
    assert decode_outcome(value) == outcome


@given(st.binary(max_size=200))
def test_random_journal_and_outcome_bytes_are_corrupt_or_read(body: bytes) -> None:
    for head, decode in ((JOURNAL_SCHEMA_ID, decode_journal), (OUTCOME_SCHEMA_ID, decode_outcome)):
        with suppress(Corrupt):
            assert decode(frame(head) + body) is not None
