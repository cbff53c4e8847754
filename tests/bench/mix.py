"""The load of the benches: sales alone, or sales with what comes between them on an ordinary day.

In the mix, of 10,000 messages 200 are refunds and 20 disputes (each reverses a sale of its shard), 50 are the same
message once more, 2 refund what was never sold (a rejection that is its event id's first verdict) and 2 are no event
at all. The same number always gives the same message.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from finance.workshop.sample_data import synthetic
from ledger_core.books.sales import refund_of
from ledger_core.books.settlements import SettlementEvent
from schemas.wire.settlements import encode_settlement

EVERY: Final = {"refund": 50, "dispute": 500, "duplicate": 200, "unknown reversal": 5000, "malformed": 5000}
_PLACE: Final = {"refund": 20, "dispute": 133, "duplicate": 77, "unknown reversal": 2501, "malformed": 4507}
_BACK: Final = 202  # messages; even, so that a reversal goes to the shard of its sale, and that one is a sale
_DISPUTED: Final = "settlement.disputed"


def messages(count: int, *, first: int = 0, mix: bool = True) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of `count` messages, to be spread over two shards by their number."""
    recent: deque[SettlementEvent] = deque(maxlen=_BACK)
    for number, event in enumerate(synthetic(count, first=first), first):
        sale = recent[0] if len(recent) == _BACK else None
        recent.append(event)
        kind = _kind(number) if mix and sale is not None else None
        if kind is None or sale is None:
            yield event.settlement_id.encode(), encode_settlement(event)
        elif kind == "malformed":
            yield event.settlement_id.encode(), b"\x00not an event"
        else:
            asked = _reversing(sale, event, kind) if kind != "duplicate" else sale
            yield asked.settlement_id.encode(), encode_settlement(asked)


def _kind(number: int) -> str | None:
    return next((kind for kind, every in EVERY.items() if number % every == _PLACE[kind]), None)


def _reversing(sale: SettlementEvent, event: SettlementEvent, kind: str) -> SettlementEvent:
    reversing = refund_of(sale, sale.occurred_at + dt.timedelta(days=1), part=kind)
    if kind == "dispute":
        return msgspec.structs.replace(reversing, event_type=_DISPUTED)
    if kind == "unknown reversal":  # its sale is the one that this message takes the place of
        return msgspec.structs.replace(reversing, reverses=event.event_id)
    return reversing
