"""What our own binary COPY packs is what Postgres reads back, at the ends of every column's range."""

from __future__ import annotations

import datetime as dt

import psycopg
import pytest

from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.ports import Record
from ledger_core.postgres.posting.copy_binary import packed_rows
from ledger_core.posting.plans import Posted
from ledger_core.posting.rules import draft
from tests.support.settlements import TOPIC, event_id, settlement

pytestmark = pytest.mark.services

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SHARD_MAX, BIGINT_MAX = 2**31 - 1, 2**63 - 1


def _posted(seq: int, offset: int, timestamp_ms: int, amount: int, body: bytes) -> Posted:
    lines = [("asset:a", "debit", amount, "USD", None), ("equity:b", "credit", amount, "USD", None)]
    made = draft(settlement(seq % 1000, lines=lines), b"st-%d" % (seq % 1000))
    return Posted(seq, Record(TOPIC, 0, offset, timestamp_ms, b"", b""), bytes(range(32)), body, made)


@pytest.mark.parametrize("shard", [0, SHARD_MAX])
def test_rows_come_back_as_they_were_packed(database_url: str, shard: int) -> None:
    posted = [
        _posted(1, 0, 0, 1, b""),
        _posted(2, 1, 946_684_799_999, 255, b"\x00\xff" * 10_000),
        _posted(BIGINT_MAX, BIGINT_MAX, 253_402_300_799_999, AMOUNT_MINOR_MAX, "é\n\\".encode()),
    ]
    numbers = {"asset:a": 1, "equity:b": SHARD_MAX}
    entries, lines, balances = packed_rows(shard, posted, numbers)
    with psycopg.connect(database_url) as connection, connection.cursor() as cursor:
        for table, data in (("entries", entries), ("lines", lines)):
            with cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)".encode()) as copy:
                copy.write(data)
        read = cursor.execute(
            "SELECT shard, seq, event_id::text, source_offset, recorded_at, entry_hash, body FROM entries ORDER BY seq"
        ).fetchall()
        assert read == [
            (shard, p.seq, event_id(p.seq % 1000), p.record.offset,
             EPOCH + dt.timedelta(milliseconds=p.record.timestamp_ms), p.entry_hash, p.body)
            for p in posted
        ]  # fmt: skip
        assert cursor.execute("SELECT * FROM lines ORDER BY seq, line_no").fetchall() == [
            (shard, p.seq, no, number, side, p.draft.lines[0][2], "USD")
            for p in posted
            for no, number, side in ((1, 1, 1), (2, SHARD_MAX, -1))
        ]
    total = 1 + 255 + AMOUNT_MINOR_MAX
    assert balances == {(1, "USD"): [total, 0], (SHARD_MAX, "USD"): [0, total]}
