"""Cheating by events: the same settlement again, and again with other content. The route must be at work."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from finance.workshop.demo.ledger import DemoLedger
from finance.workshop.demo.model import Cheat
from finance.workshop.demo.route import DemoRoute
from ledger_core.books.settlements import SettlementEvent
from ledger_core.postgres.session import session

VERDICTS = """
SELECT shard, source_offset, verdict, reason, detail FROM verdicts WHERE event_id = %s::uuid ORDER BY source_offset"""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The row of the verdict log about one offset."""

    shard: int
    source_offset: int
    verdict: str
    reason: str
    detail: str


def cheat_events(ledger: DemoLedger, route: DemoRoute, original: SettlementEvent) -> Iterator[Cheat]:
    """Send `original`, which is posted, a second time, and a third time a dollar dearer."""
    again = msgspec.structs.replace(original, occurred_at=original.occurred_at + dt.timedelta(seconds=1))
    route.send([again])
    found = _verdicts(ledger, original.event_id)
    yield Cheat(
        f"settlement {original.settlement_id} is sent again, with another occurred_at",
        "poster",
        None,
        _words(found) + ", nothing posted",
        caught=[v.verdict for v in found] == ["duplicate"] and _entries(ledger, original.event_id) == 1,
    )
    route.send([dearer(original)])
    found = _verdicts(ledger, original.event_id)[1:]
    yield Cheat(
        f"settlement {original.settlement_id} is sent again, a dollar dearer",
        "poster, dead letter",
        None,
        _words(found),
        caught=[v.reason for v in found] == ["conflict"]
        and "lines" in found[0].detail
        and _dead_letters(ledger, found[0]) == 1
        and _entries(ledger, original.event_id) == 1,
    )


def dearer(event: SettlementEvent) -> SettlementEvent:
    """The same event id with a dollar more on one debit and one credit."""
    lines = list(event.lines)
    for side in ("debit", "credit"):
        number = next(n for n, line in enumerate(lines) if line.side == side)
        lines[number] = msgspec.structs.replace(lines[number], amount_minor=lines[number].amount_minor + 100)
    return msgspec.structs.replace(event, lines=tuple(lines))


def _verdicts(ledger: DemoLedger, event_id: str) -> list[_Verdict]:
    with session(ledger.settings.database_url("api"), application_name="finance demo", read_only=True) as connection:
        return [_Verdict(*row) for row in connection.execute(VERDICTS, (event_id,))]


def _entries(ledger: DemoLedger, event_id: str) -> int:
    return _count(ledger, "SELECT count(*) FROM entries WHERE event_id = %s::uuid", event_id)


def _dead_letters(ledger: DemoLedger, verdict: _Verdict) -> int:
    query = "SELECT count(*) FROM dead_letters WHERE shard = %s AND source_offset = %s"
    return _count(ledger, query, verdict.shard, verdict.source_offset)


def _count(ledger: DemoLedger, query: str, *values: object) -> int:
    with session(ledger.settings.database_url("api"), application_name="finance demo", read_only=True) as connection:
        row = connection.execute(query, values).fetchone()
    return row[0] if row else 0


def _words(found: list[_Verdict]) -> str:
    return (
        "; ".join(
            f"shard {v.shard}, offset {v.source_offset}: {v.verdict}"
            + (f" ({v.reason}: {v.detail})" if v.verdict == "rejected" else "")
            for v in found
        )
        or "no verdict"
    )
