"""Entries by what they are called, and the lines of an account, page by page, from a projection.

Guarantees: a page costs what it shows, whatever stands before or behind it: each question has an index in the order of
its pages, and a page goes on behind a key, never behind a count. Only what is known at the position is shown, so the
pages of one position fit together. Does not: read the ledger: what was left out (decision 123) stands there, by shard
and sequence. Read-only; in the caller's snapshot.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from ledger_core.postgres.posting.account_numbers import array_literal
from ledger_core.postgres.reading.projection_balances import (
    Asking,
    KnownPosition,
    SeriesRow,
    series_of,
    series_sides,
)
from ledger_core.reading.chunks import CHUNK_BITS, chunk_of, digest_of

COLUMNS: Final = """e.shard, e.seq, e.event_id::text, e.event_type, e.settlement_id, e.order_id, e.provider,
       e.reference, e.reverses::text, e.source_offset, e.occurred_at, e.recorded_at, e.known_at, e.entry_hash"""


class By(StrEnum):
    """What entries are found by."""

    EVENT = "event_id"
    SETTLEMENT = "settlement_id"
    ORDER = "order_id"
    REFERENCE = "reference"


# (key, condition on the name itself: two names may have the same key)
FOUND_BY: Final = {
    By.EVENT: ("event_key", "event_id = %(value)s::uuid"),
    By.SETTLEMENT: ("settlement_key", 'settlement_id = %(value)s COLLATE "C"'),
    By.ORDER: ("order_key", 'order_id = %(value)s COLLATE "C"'),
    By.REFERENCE: ("reference_key", 'reference = %(value)s COLLATE "C"'),
}
FOUND: Final = f"""
SELECT {COLUMNS}
  FROM unnest(%(shards)s::text::int4[], %(seqs)s::text::int8[]) AS p (shard, upto)
  JOIN chunks c ON c.shard = p.shard AND c.chunk <= (p.upto - 1) >> {CHUNK_BITS}
 CROSS JOIN LATERAL (
       SELECT * FROM entries
        WHERE known_month = c.known_month AND {{key}} = (c.slot::int8 << 32) + %(digest)s AND {{condition}}
          AND shard = c.shard AND seq <= p.upto AND (c.shard > %(shard)s OR seq > %(seq)s)
        ORDER BY seq LIMIT %(limit)s) AS e
 WHERE (c.shard, c.chunk) >= (%(shard)s, %(chunk)s) ORDER BY e.shard, e.seq LIMIT %(limit)s"""
LEGS: Final = f"""
SELECT e.shard, e.seq, s.account, s.currency, l.amount
  FROM unnest(%s::text::int4[], %s::text::int8[]) AS w (shard, seq)
  JOIN chunks c ON c.shard = w.shard AND c.chunk = (w.seq - 1) >> {CHUNK_BITS}
 CROSS JOIN LATERAL (
       SELECT * FROM entries WHERE known_month = c.known_month AND shard = w.shard AND seq = w.seq OFFSET 0) AS e
 CROSS JOIN LATERAL unnest(e.series_nos, e.amounts_minor) WITH ORDINALITY AS l (series_no, amount, line_no)
 CROSS JOIN LATERAL (
       SELECT account, currency FROM series WHERE shard = w.shard AND series_no = l.series_no OFFSET 0) AS s
 ORDER BY e.shard, e.seq, l.line_no"""
LINES: Final = f"""
SELECT {COLUMNS}, l.line_no, l.amount_minor
  FROM unnest(%(shards)s::text::int4[], %(nos)s::text::int4[], %(seqs)s::text::int8[], %(line_nos)s::text::int2[],
              %(uptos)s::text::int8[], %(froms)s::text::int4[], %(tos)s::text::int4[])
    AS w (shard, series_no, seq, line_no, upto, from_chunk, to_chunk)
 CROSS JOIN LATERAL (
       SELECT l.* FROM chunks c CROSS JOIN LATERAL (
              SELECT seq, line_no, known_month, amount_minor FROM lines
               WHERE known_month = c.known_month AND slot = c.slot AND series_no = w.series_no
                 AND (seq, line_no) > (w.seq, w.line_no) AND seq <= w.upto ORDER BY seq, line_no LIMIT %(limit)s) AS l
        WHERE c.shard = w.shard AND c.chunk BETWEEN w.from_chunk AND w.to_chunk
        ORDER BY l.seq, l.line_no LIMIT %(limit)s) AS l
 CROSS JOIN LATERAL (
       SELECT * FROM entries WHERE known_month = l.known_month AND shard = w.shard AND seq = l.seq OFFSET 0) AS e"""
CHUNKS_FIRST: Final = 4  # read at once; then four times as many


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


KNOWN_AT: Final = FoundEntry._fields.index("known_at")


def entries_by(
    connection: Asking, by: By, value: str, position: KnownPosition, *, after: tuple[int, int] = (-1, 0), limit: int
) -> list[FoundEntry]:
    """Entries that are called so, by shard and sequence, behind `after`. An event id must be a UUID."""
    key, condition = FOUND_BY[by]
    values = {
        "value": value,
        "digest": int.from_bytes(digest_of(value)),
        "chunk": max(0, chunk_of(after[1])),
        "shards": array_literal(position.keys()),
        "seqs": array_literal(position.values()),
        "shard": after[0],
        "seq": after[1],
        "limit": limit,
    }
    asked = FOUND.format(key=key, condition=condition)
    return [FoundEntry(*row) for row in connection.execute(asked.encode(), values)]


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
    for it in series:
        sides = series_sides(connection, it, start.get(it.shard, (0, 0)))
        opening += 0 if sides is None else sides[0] - sides[1]
    rows = _lines(connection, series, start, position, limit)
    balance, lines = opening, []
    for *entry, line_no, amount in rows:
        balance += amount
        lines.append(StatementLine(FoundEntry(*entry), line_no, amount, balance))
    return opening, lines


def _lines(
    connection: Asking, series: list[SeriesRow], behind: Behind, position: KnownPosition, limit: int
) -> list[tuple[Any, ...]]:
    """The first lines of these series, one of a shard, in the order in which they were known. A shard's chunks are
    read until its lines are enough: few of a busy account's, many of one that rarely has a line.
    """
    found: list[tuple[Any, ...]] = []
    left, chunks = {it: it.first_chunk for it in series}, CHUNKS_FIRST
    while left:
        wants: list[tuple[int, ...]] = []
        for it, first in list(left.items()):
            seq, line_no = behind.get(it.shard, (0, 0))
            upto = position.get(it.shard, 0)
            first = max(first, chunk_of(max(1, seq)))
            last = min(it.last_chunk, chunk_of(upto))
            wants.append((it.shard, it.no, seq, line_no, upto, first, min(last, first + chunks - 1)))
            left[it] = first + chunks
            if first + chunks > last:
                del left[it]
        names = ("shards", "nos", "seqs", "line_nos", "uptos", "froms", "tos")
        values: dict[str, object] = {name: array_literal(it[at] for it in wants) for at, name in enumerate(names)}
        found += connection.execute(LINES, {**values, "limit": limit}).fetchall()
        enough = {shard for shard, count in Counter(row[0] for row in found).items() if count >= limit}
        left = {it: first for it, first in left.items() if it.shard not in enough}
        chunks *= 4
    found.sort(key=lambda row: (row[KNOWN_AT], row[0], row[1], row[-2]))
    return found[:limit]


def behind_page(behind: Behind, lines: list[StatementLine]) -> dict[int, tuple[int, int]]:
    """Where the page behind this one begins."""
    return {**behind, **{line.entry.shard: (line.entry.seq, line.line_no) for line in lines}}
