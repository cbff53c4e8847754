"""Ten thousand bad messages: each ends posted or in the dead letters with a reason, and nothing stops or is skipped."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from ledger_core.books.lines import AMOUNT_MINOR_MAX
from ledger_core.books.settlements import LineFields
from ledger_core.errors import RejectReason
from ledger_core.ports import Record
from ledger_core.posting.activation import RulesJudge
from ledger_core.signing.registry import SignerRegistry
from tests.support.posting_runs import (
    check_journal,
    check_ledger,
    post_all,
    publish,
    read_topic,
    rows,
    topic_of,
)
from tests.support.settlements import TOPIC, event_id, record, sale, settlement, wire

pytestmark = pytest.mark.services

MESSAGES = 10_000
TOPIC_BYTES = 900_000  # what lies below the topic's limit
NASTY = (
    "NaN",
    "inf",
    "-0",
    "1e3",
    "0x10",
    "",
    " ",
    "\0",
    "\u202e",
    "e\u0301",
    "\U0001f4b8",
    "'; DROP TABLE entries; --",
)
NASTY_CURRENCIES = ("usd", "XXX", "XTS", "US", "USDX", "", "\0\0\0", "NaN", "ÜSD", "BTC")
NASTY_AMOUNTS = (0, -1, AMOUNT_MINOR_MAX + 1, 2**63 - 1, -(2**63))


def _lines(chance: random.Random, count: int) -> list[LineFields]:
    """`count` lines that balance."""
    memos = (None, "m", '"' * 512, "\u00e9" * 512)
    memo = chance.choice([it for it in memos if count * len((it or "").encode()) < TOPIC_BYTES])
    legs: list[LineFields] = [("expense:lost", "debit", 5, "USD", memo) for _ in range(count - 1)]
    return [*legs, ("asset:cash", "credit", 5 * (count - 1), "USD", memo)]


def _fuzzed(chance: random.Random, n: int) -> Record:
    made: list[Callable[[], Record]] = [
        lambda: _bytes(chance.randbytes(chance.randint(0, 300))),
        lambda: _bytes(wire(settlement(n))[: chance.randint(0, 150)]),
        lambda: _bytes(chance.choice((b"\x01", b"\xff", b"{")) + wire(settlement(n))[1:]),
        lambda: _bytes(wire(settlement(n), schema_id=chance.getrandbits(31))),
        lambda: _bytes(_mutated(chance, wire(settlement(n)))),
        lambda: _bytes(b'{"says":"finance.rules.v1","rules":%d}' % chance.randint(-1, 9)),
        lambda: _bytes(wire(settlement(n)) + b"\0" * chance.randint(1, 9)),
        lambda: record(0, settlement(n, lines=[(*sale()[0][:2], chance.choice(NASTY_AMOUNTS), "USD", None)])),
        lambda: record(0, settlement(n, lines=sale(currency=chance.choice(NASTY_CURRENCIES)))),
        lambda: record(0, settlement(n, lines=[(chance.choice(NASTY), "debit", 1, "USD", None)])),
        lambda: record(0, settlement(n, lines=[*sale(), ("expense:x", "debit", 1, "USD", chance.choice(NASTY))])),
        lambda: record(0, settlement(n, event_id=chance.choice((*NASTY, event_id(n).upper())))),
        lambda: record(0, settlement(n, metadata={chance.choice(NASTY): chance.choice(NASTY)})),
        lambda: record(0, settlement(n, metadata={"memo": chance.choice(NASTY)})),
        lambda: record(0, settlement(n, pii_digest=chance.choice(NASTY))),
        lambda: record(0, settlement(n, occurred_at_us=chance.choice((-1, 2**63 - 1, 253_402_300_800_000_000)))),
        lambda: record(
            0, settlement(n, provider=("stripe", chance.choice(NASTY), chance.choice(NASTY_AMOUNTS), "USD"))
        ),
        lambda: record(0, settlement(n, order_id="x" * chance.choice((128, 129, 100_000)))),
        lambda: record(0, settlement(n), key=chance.choice((b"", b"st-0", b"\xff"))),
        lambda: record(0, settlement(n, reverses=event_id(n + 10**6))),
        lambda: record(0, settlement(chance.randint(0, 30), lines=sale(chance.choice((10_000, 9_000))))),
    ]
    return chance.choice(made)()


def _bytes(value: bytes) -> Record:
    return Record(TOPIC, 0, 0, 0, b"key", value, (("trace", value[:20]),))


def _mutated(chance: random.Random, value: bytes) -> bytes:
    data = bytearray(value)
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] = chance.getrandbits(8)
    return bytes(data)


def _stream() -> Iterator[Record]:
    chance = random.Random(20_251_101)
    for n in range(MESSAGES - 8):
        yield _fuzzed(chance, n)
    for n, count in enumerate((999, 1_000, 1_000, 1_001, 5_000), 10**7):
        yield record(0, settlement(n, lines=_lines(chance, count)))
    yield record(0, settlement(10**8, metadata={"huge": "x" * 900_000}))
    yield record(0, settlement(10**8 + 1))
    yield Record(TOPIC, 0, 0, 0, None, None, ())


def test_ten_thousand_bad_messages_are_each_posted_or_dead_lettered_with_a_reason(environ: dict[str, str]) -> None:
    sent = list(_stream())
    publish(environ, sent)
    post_all(environ, judge=RulesJudge("test", SignerRegistry(())))
    dsn = environ["DATABASE_URL"]
    ((posted, duplicates, rejected, next_offset),) = rows(
        dsn, "SELECT posted, duplicates, rejected, next_offset FROM shards WHERE shard = 0"
    )
    assert next_offset == posted + duplicates + rejected == MESSAGES
    assert min(posted, duplicates) > 50
    reasons = dict(rows(dsn, "SELECT reason, count(*)::int FROM verdicts WHERE verdict = 'rejected' GROUP BY 1"))
    by_no_message = {RejectReason.NO_RECORD, RejectReason.UNREADABLE}
    assert set(reasons) == set(RejectReason) - by_no_message, "a reason that no message met, or no reason"
    assert sum(reasons.values()) == rejected
    letters = read_topic(environ, topic_of(environ, "settlements.dlq"), 0)
    assert len(letters) == rejected
    for letter in letters:
        original = sent[int((dict(letter.headers)["finance.offset"] or b"").decode())]
        assert (letter.key, letter.value) == (original.key, original.value)
        assert letter.headers[: len(original.headers)] == original.headers
    check_ledger(dsn)
    check_journal(environ, dsn)
