"""Verdicts that posted nothing, from the outcomes topic, one shard at a time. Pure.

Guarantees: one row an offset of the settlements topic, whichever way it is fed; what was posted makes no row (its entry
does); the detail, which is free text, is left out, and so is what has not the form of an id: the key of a rejected
record is whatever its publisher sent. `complete_from` says since which offset no verdict is missing: the
topic forgets after a month, and a projection that begins later says so. What is missing are records of the outcomes
topic that were not read: an offset of the settlements topic without an outcome had no record, as a transaction's end.
Does not: believe an outcome more than the ledger: it is what the poster announced, and nothing is chained here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ledger_core.books.event_rules import is_name, is_uuid

POSTED: Final = "posted"


class HeardOutcome(NamedTuple):
    """A record of the outcomes topic, as far as it counts here."""

    offset: int  # its own, in the outcomes topic
    source_offset: int  # of the record in the settlements topic
    event_id: str | None  # None where none could be read
    settlement_id: str | None  # None where none could be read
    verdict: str  # posted, duplicate or rejected
    reason: str | None  # code; None where there is nothing to say


class ProjectedVerdict(NamedTuple):
    """What became of one record that posted nothing."""

    shard: int  # number of the shard, from 0
    source_offset: int  # of the record in the settlements topic
    event_id: str | None  # UUID
    settlement_id: str | None  # the shop's id
    verdict: str  # duplicate or rejected
    reason: str  # code; empty where there is nothing to say


class OutcomeReach(NamedTuple):
    """How far the outcomes of one shard were read."""

    shard: int  # number of the shard, from 0
    decided: int | None = None  # settlements offset behind the newest outcome; None before the first
    complete_from: int | None = None  # from this settlements offset on none is missing; None before the first
    next_offset: int = 0  # of the outcomes topic


@dataclass(slots=True)
class OutcomesRead:
    """What outcomes of a shard came to."""

    reach: OutcomeReach  # behind them
    rows: list[ProjectedVerdict] = field(default_factory=list)  # new ones, in order


def read_outcomes(reach: OutcomeReach, outcomes: Iterable[HeardOutcome]) -> OutcomesRead:
    """Take outcomes in the order of their topic. One that was taken is skipped: after a restore they are said again."""
    shard, decided, complete_from, next_offset = reach
    rows = []
    for it in outcomes:
        forgotten, next_offset = it.offset > next_offset, it.offset + 1
        if decided is not None and it.source_offset < decided:
            continue
        if forgotten and it.source_offset != decided:
            complete_from = it.source_offset
        elif decided is None:
            complete_from = 0  # the topic was read from its beginning
        decided = it.source_offset + 1
        if it.verdict != POSTED:
            event_id = it.event_id if it.event_id is not None and is_uuid(it.event_id) else None
            settlement_id = it.settlement_id if it.settlement_id is not None and is_name(it.settlement_id) else None
            rows.append(ProjectedVerdict(shard, it.source_offset, event_id, settlement_id, it.verdict, it.reason or ""))
    return OutcomesRead(OutcomeReach(shard, decided, complete_from, next_offset), rows)
