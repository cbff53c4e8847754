"""A journal of any length, and asking a projection of it: what `bench reading` feeds and measures. Deterministic.

The worst case of ids: all of them random. 100,000 sellers; one account is in every entry; what happened is up to three
days older than its record.
"""

from __future__ import annotations

import datetime as dt
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

from ledger_core.books.entries import EntrySource, JournalEntry, Provider, encode_entry
from ledger_core.books.lines import Line
from ledger_core.chain import link
from ledger_core.reading.fold import JournalItem
from ledger_core.times import format_time

SELLERS = 100_000
START = dt.datetime(2025, 11, 1, tzinfo=dt.UTC)
EVERY = dt.timedelta(milliseconds=130)
HOT = "asset:psp:stripe"


def journal(entries: int, chance: random.Random) -> Iterator[tuple[JournalItem, JournalEntry]]:
    """Records of shard 0."""
    head = None
    for number in range(entries):
        entry = _entry(number, chance)
        body = encode_entry(entry)
        head = link(body, head)
        yield JournalItem(number, number + 1, body, head), entry


def _entry(number: int, chance: random.Random) -> JournalEntry:
    amount, recorded = 100 + number % 900, START + number * EVERY
    seller = f"liability:payable:seller-{chance.randrange(SELLERS)}"
    return JournalEntry(
        event_id=str(uuid.UUID(int=chance.getrandbits(128))),
        event_type="settlement.captured",
        lines=(
            Line(account=HOT, amount_minor=str(amount), currency="USD", side="debit"),
            Line(account=seller, amount_minor=str(amount - 3), currency="USD", side="credit"),
            Line(account="revenue:fees", amount_minor="3", currency="USD", side="credit"),
        ),
        metadata={},
        occurred_at=format_time(recorded - dt.timedelta(hours=chance.randrange(1, 72))),
        order_id=f"order-{chance.getrandbits(40)}",
        provider=Provider(
            name="stripe", reference=f"pi_{chance.getrandbits(60):x}", amount_minor=str(amount), currency="USD"
        ),
        recorded_at=format_time(recorded),
        seq=str(number + 1),
        settlement_id=f"st-{chance.getrandbits(60):x}",
        shard=0,
        source=EntrySource(offset=str(number), partition=0, topic="finance.settlements", value_sha256="5e" * 32),
        version=1,
    )


def p95_ms(ask: Callable[..., object], questions: Iterable[tuple[object, ...]]) -> float:
    """Of the times that the questions take, in their order."""
    taken = []
    for question in questions:
        began = time.perf_counter()
        ask(*question)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[int(len(taken) * 0.95)] * 1000
