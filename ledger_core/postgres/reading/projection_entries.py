"""Entries by what they are called, and the lines of an account, page by page, from a projection.

Guarantees: a page costs what it shows, whatever stands before or behind it: each question has an index in the order of
its pages, and a page goes on behind a key, never behind a count. Only what is known at the position is shown, so the
pages of one position fit together. Does not: read the ledger: what was left out (decision 123) stands there, by shard
and sequence. Read-only; in the caller's snapshot.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from ledger_core.postgres.posting.account_numbers import array_literal
from ledger_core.postgres.reading.projection_balances import Asking, KnownPosition, series_of, series_sides

COLUMNS: Final = """e.shard, e.seq, e.event_id::text, e.event_type, e.settlement_id, e.order_id, e.provider,
       e.reference, e.reverses::text, e.source_offset, e.occurred_at, e.recorded_at, e.known_at, e.entry_hash"""


class By(StrEnum):
    """What entries are found by."""

    EVENT = "event_id"
    SETTLEMENT = "settlement_id"
    ORDER = "order_id"
    REFERENCE = "reference"


CONDITION: Final = {
    By.EVENT: "e.event_id = %(value)s::uuid",
    **{by: f'e.{by.value} = %(value)s COLLATE "C"' for by in (By.SETTLEMENT, By.ORDER, By.REFERENCE)},
}
FOUND: Final = f"""
SELECT {COLUMNS} FROM entries e
  JOIN unnest(%(shards)s::text::int4[], %(seqs)s::text::int8[]) AS p (shard, upto)
    ON p.shard = e.shard AND e.seq <= p.upto
 WHERE {{condition}} AND (e.shard, e.seq) > (%(shard)s, %(seq)s) ORDER BY e.shard, e.seq LIMIT %(limit)s"""
LEGS: Final = """
SELECT e.shard, e.seq, s.account, s.currency, l.amount
  FROM unnest(%s::text::int4[], %s::text::int8[]) AS w (shard, seq)
  JOIN entries e ON e.shard = w.shard AND e.seq = w.seq
 CROSS JOIN LATERAL unnest(e.series_nos, e.amounts_minor) WITH ORDINALITY AS l (series_no, amount, line_no)
  JOIN series s ON s.shard = e.shard AND s.series_no = l.series_no
 ORDER BY e.shard, e.seq, l.line_no"""
STATEMENT: Final = f"""
SELECT {COLUMNS}, l.line_no, l.amount_minor
  FROM unnest(%(shards)s::text::int4[], %(nos)s::text::int4[], %(seqs)s::text::int8[], %(line_nos)s::text::int2[],
              %(uptos)s::text::int8[]) AS w (shard, series_no, seq, line_no, upto)
 CROSS JOIN LATERAL (
       SELECT seq, line_no, known_month, amount_minor FROM lines
        WHERE shard = w.shard AND series_no = w.series_no AND (seq, line_no) > (w.seq, w.line_no) AND seq <= w.upto
        ORDER BY seq, line_no LIMIT %(limit)s) AS l
  JOIN entries e ON e.shard = w.shard AND e.seq = l.seq AND e.known_month = l.known_month
 ORDER BY e.known_at, e.shard, e.seq, l.line_no LIMIT %(limit)s"""


class FoundEntry(NamedTuple):
    """An entry as a projection shows it."""

    shard: int  # number of the shard, from 0
    seq: int  # place in the shard's chain, from 1
    event_id: str  # UUID
    event_type: str  # settlement.captured, ...
    settlement_id: str  # the shop's id
    order_id: str  # the shop's id
    provider: str | None  # name of the payment provider
    reference: str | None  # the provider's own id of the payment
    reverses: str | None  # event id of the entry that it takes back
    source_offset: int  # offset of its record in the settlements topic
    occurred_at: dt.datetime  # business time, UTC
    recorded_at: dt.datetime  # the broker's time, UTC
    known_at: dt.datetime  # since when the ledger knows it (ledger_core.reading.known)
    entry_hash: bytes  # its link of the chain, 32 bytes


class FoundLeg(NamedTuple):
    """A line of an entry."""

    account: str  # path of the account
    currency: str  # three capital letters, ISO 4217
    amount_minor: int  # minor units; a debit positive, a credit negative


class StatementLine(NamedTuple):
    """A line of an account, and what the account comes to with it."""

    entry: FoundEntry  # the entry that it belongs to
    line_no: int  # place in the entry, from 1
    amount_minor: int  # minor units; a debit positive, a credit negative
    balance_minor: int  # debits less credits of all lines known up to and with this one, over all shards


Behind = Mapping[int, tuple[int, int]]
"""Of each shard, the last line that was shown: (sequence, line number)."""


def entries_by(
    connection: Asking, by: By, value: str, position: KnownPosition, *, after: tuple[int, int] = (-1, 0), limit: int
) -> list[FoundEntry]:
    """Entries that are called so, by shard and sequence, behind `after`. An event id must be a UUID."""
    values = {
        "value": value,
        "shards": array_literal(position.keys()),
        "seqs": array_literal(position.values()),
        "shard": after[0],
        "seq": after[1],
        "limit": limit,
    }
    return [FoundEntry(*row) for row in connection.execute(FOUND.format(condition=CONDITION[by]).encode(), values)]


def legs_of(connection: Asking, places: list[tuple[int, int]]) -> dict[tuple[int, int], list[FoundLeg]]:
    """The lines of entries, by (shard, sequence), in their order."""
    shards, seqs = array_literal(shard for shard, _ in places), array_literal(seq for _, seq in places)
    found: dict[tuple[int, int], list[FoundLeg]] = {}
    for shard, seq, *leg in connection.execute(LEGS, (shards, seqs)):
        found.setdefault((shard, seq), []).append(FoundLeg(*leg))
    return found


def statement(
    connection: Asking,
    account: str,
    currency: str,
    position: KnownPosition,
    *,
    behind: Behind | None = None,
    limit: int,
) -> tuple[int, list[StatementLine]]:
    """The lines of an account in one currency, in the order in which they were known, and its balance before them.

    `behind`: where the page before ended, or the position at which the statement begins.
    """
    start = dict(behind or {})
    series = series_of(connection, account, currency)
    opening = 0
    for shard, no, _ in series:
        sides = series_sides(connection, shard, no, start.get(shard, (0, 0)))
        opening += 0 if sides is None else sides[0] - sides[1]
    places = [(shard, no, *start.get(shard, (0, 0)), position.get(shard, 0)) for shard, no, _ in series]
    names = ("shards", "nos", "seqs", "line_nos", "uptos")
    values: dict[str, object] = {name: array_literal(it[at] for it in places) for at, name in enumerate(names)}
    balance, lines = opening, []
    for row in connection.execute(STATEMENT, {**values, "limit": limit}):
        *entry, line_no, amount = row
        balance += amount
        lines.append(StatementLine(FoundEntry(*entry), line_no, amount, balance))
    return opening, lines


def behind_page(behind: Behind, lines: list[StatementLine]) -> dict[int, tuple[int, int]]:
    """Where the page behind this one begins."""
    return {**behind, **{line.entry.shard: (line.entry.seq, line.line_no) for line in lines}}
