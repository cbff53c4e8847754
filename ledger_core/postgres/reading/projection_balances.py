"""Balances as of an effective day and a position of the chains, from a projection.

Guarantees: the answer for a day and a position is the same for ever (nothing that it reads is ever updated); what one
account costs is bounded whatever its number of lines: at most 31 rows for each level of blocks and 255 lines, in each
shard. A position for a time is answered only once every shard is known beyond it.
Does not: compare with the ledger (`finance projection verify` does). Read-only; in the caller's snapshot.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import psycopg

from ledger_core.errors import Refused
from ledger_core.postgres.posting.account_numbers import array_literal
from ledger_core.reading.blocks import BLOCK_LINES, covering
from ledger_core.reading.chunks import chunk_of
from ledger_core.times import format_time_us

END_OF_DAYS: Final = dt.date.max  # no effective day is later
LINE_NO_MAX: Final = 32_767  # no line of an entry has a later number

REACHES: Final = "SELECT shard, seq, known_us FROM shards ORDER BY shard"
KNOWN_BLOCK: Final = "SELECT coalesce(max(seq), 0) FROM (SELECT seq FROM moments WHERE shard = %s AND known_us <= %s "
KNOWN_BLOCK_NEWEST: Final = KNOWN_BLOCK + "ORDER BY known_us DESC, seq DESC LIMIT 1) AS newest"
KNOWN_REST: Final = f"""
SELECT coalesce(max(seq), %(seq)s) FROM (
    SELECT seq, known_at FROM entries WHERE shard = %(shard)s AND seq > %(seq)s AND seq <= %(seq)s + {BLOCK_LINES}
  ) AS rest WHERE known_at <= timestamptz '1970-01-01T00:00Z' + %(known_us)s * interval '1 microsecond'"""
SERIES: Final = """
SELECT shard, series_no, currency, first_chunk, last_chunk FROM series
 WHERE account = %s COLLATE "C" AND (%s = '' OR currency = %s) ORDER BY currency, shard"""
END: Final = """
SELECT block_no + 1, seq, line_no FROM ends WHERE shard = %s AND series_no = %s AND (seq, line_no) <= (%s, %s)
 ORDER BY seq DESC, line_no DESC LIMIT 1"""
# The lines behind the last full block: 255 at most.
SUMS: Final = """
SELECT coalesce(sum(lines), 0), coalesce(sum(debits), 0), coalesce(sum(credits), 0) FROM (
    SELECT 0 AS lines, b.debits, b.credits
      FROM unnest(%(levels)s::text::int2[], %(numbers)s::text::int8[]) AS w (level, block_no)
     CROSS JOIN LATERAL (
           SELECT debits, credits FROM blocks
            WHERE shard = %(shard)s AND series_no = %(no)s AND level = w.level AND block_no = w.block_no
              AND day <= %(day)s ORDER BY day DESC LIMIT 1) AS b
    UNION ALL
    SELECT 1, CASE WHEN l.effective_day <= %(day)s THEN greatest(l.amount_minor, 0) ELSE 0 END,
           CASE WHEN l.effective_day <= %(day)s THEN greatest(-l.amount_minor, 0) ELSE 0 END
      FROM chunks c CROSS JOIN LATERAL (
           SELECT amount_minor, effective_day FROM lines
            WHERE known_month = c.known_month AND slot = c.slot AND series_no = %(no)s
              AND (seq, line_no) > (%(end_seq)s, %(end_line_no)s) AND (seq, line_no) <= (%(seq)s, %(line_no)s)
              OFFSET 0) AS l
     WHERE c.shard = %(shard)s AND c.chunk BETWEEN %(from_chunk)s AND %(to_chunk)s) AS parts"""
TOTALS: Final = """
SELECT type, currency, sum(debits), sum(credits) FROM (
    SELECT t.type, t.currency, t.debits, t.credits
      FROM unnest(%(levels)s::text::int2[], %(numbers)s::text::int8[]) AS w (level, block_no)
     CROSS JOIN LATERAL (
           SELECT DISTINCT ON (type, currency) type, currency, debits, credits FROM totals
            WHERE shard = %(shard)s AND level = w.level AND block_no = w.block_no AND day <= %(day)s
            ORDER BY type, currency, day DESC) AS t
    UNION ALL
    SELECT split_part(s.account, ':', 1), s.currency, greatest(l.amount, 0), greatest(-l.amount, 0)
      FROM entries e CROSS JOIN LATERAL unnest(e.series_nos, e.amounts_minor) AS l (series_no, amount)
      JOIN series s ON s.shard = e.shard AND s.series_no = l.series_no
     WHERE e.shard = %(shard)s AND e.seq > %(done)s AND e.seq <= %(seq)s AND e.effective_day <= %(day)s) AS parts
 GROUP BY type, currency"""

KnownPosition = Mapping[int, int]
"""Of each shard, the newest sequence."""
Asking = psycopg.Connection[Any]


class Sides(NamedTuple):
    """Both sides of an account, or of a type of accounts, in one currency over all shards."""

    name: str  # path of the account, or the type
    currency: str  # three capital letters, ISO 4217
    debits: int  # minor units
    credits: int  # minor units


class SeriesRow(NamedTuple):
    """The lines of one account and currency in a shard."""

    shard: int  # number of the shard, from 0
    no: int  # of the series, in its shard
    currency: str  # three capital letters, ISO 4217
    first_chunk: int  # that it has a line in (ledger_core.reading.chunks)
    last_chunk: int  # the same, as of now


def newest_position(connection: Asking) -> dict[int, int]:
    """How far the projection has come."""
    return {shard: seq for shard, seq, _ in connection.execute(REACHES)}


def position_at(connection: Asking, known_us: int) -> dict[int, int]:
    """What was known at a time (microseconds since 1970). Raises Refused while a shard is not known beyond it."""
    found = {}
    for shard, _, reach_us in connection.execute(REACHES).fetchall():
        if reach_us <= known_us:
            raise Refused(
                f"shard {shard} is known up to {format_time_us(reach_us)}, not up to {format_time_us(known_us)}",
                remedy="ask for an earlier time, or wait: a shard without events is closed every few seconds while "
                "`finance run projector` runs",
            )
        found[shard] = _known_then(connection, shard, known_us)
    return found


def known_until(connection: Asking, known_us: int) -> dict[int, int]:
    """The same, but of a shard that is not known beyond that time everything that was read so far."""
    return {
        shard: seq if reach_us <= known_us else _known_then(connection, shard, known_us)
        for shard, seq, reach_us in connection.execute(REACHES).fetchall()
    }


def _known_then(connection: Asking, shard: int, known_us: int) -> int:
    before = _number(connection, KNOWN_BLOCK_NEWEST, (shard, known_us))
    return _number(connection, KNOWN_REST, {"shard": shard, "seq": before, "known_us": known_us})


def account_sides(
    connection: Asking, account: str, position: KnownPosition, day: dt.date = END_OF_DAYS, currency: str = ""
) -> list[Sides]:
    """An account at a position, as of an effective day, inclusive: a row for each currency in which it has lines."""
    sums: dict[str, list[int]] = {}
    for series in series_of(connection, account, currency):
        found = series_sides(connection, series, (position.get(series.shard, 0), LINE_NO_MAX), day)
        if found is not None:
            both = sums.setdefault(series.currency, [0, 0])
            both[0] += found[0]
            both[1] += found[1]
    return [Sides(account, code, *both) for code, both in sorted(sums.items())]


def series_of(connection: Asking, account: str, currency: str = "") -> list[SeriesRow]:
    """An account's series, by currency and shard."""
    return [SeriesRow(*row) for row in connection.execute(SERIES, (account, currency, currency))]


def series_sides(
    connection: Asking, series: SeriesRow, upto: tuple[int, int], day: dt.date = END_OF_DAYS
) -> tuple[int, int] | None:
    """Debits and credits of a series up to and with a line, (sequence, line number), as of an effective day; None when
    it has no line there yet."""
    shard, no, _, first_chunk, last_chunk = series
    full, end_seq, end_line_no = connection.execute(END, (shard, no, *upto)).fetchone() or (0, 0, 0)
    parts, _ = _blocks(full * BLOCK_LINES)
    place = {"shard": shard, "no": no, "seq": upto[0], "line_no": upto[1], "day": day}
    end = {"end_seq": end_seq, "end_line_no": end_line_no}
    chunks = {"from_chunk": max(first_chunk, chunk_of(end_seq)), "to_chunk": min(last_chunk, chunk_of(upto[0]))}
    row = connection.execute(SUMS, {**place, **end, **chunks, **parts}).fetchone()
    if row is None or not (full or row[0]):
        return None
    return int(row[1]), int(row[2])


def trial_sides(connection: Asking, position: KnownPosition, day: dt.date = END_OF_DAYS) -> list[Sides]:
    """All accounts of each type at a position, as of an effective day, inclusive."""
    sums: dict[tuple[str, str], list[int]] = {}
    for shard, seq in sorted(position.items()):
        parts, done = _blocks(seq)
        values = {"shard": shard, "seq": seq, "day": day, "done": done, **parts}
        for kind, code, debits, credits_ in connection.execute(TOTALS, values):
            both = sums.setdefault((code, kind), [0, 0])
            both[0] += int(debits)
            both[1] += int(credits_)
    return [Sides(kind, code, *both) for (code, kind), both in sorted(sums.items())]


def _blocks(count: int) -> tuple[dict[str, str], int]:
    """The blocks of the first `count` lines, as arrays, and how many lines those are."""
    covers, done = covering(count)
    pairs = [(it.level, number) for it in covers for number in range(it.first, it.end)]
    levels, numbers = array_literal(level for level, _ in pairs), array_literal(number for _, number in pairs)
    return {"levels": levels, "numbers": numbers}, done


def _number(connection: Asking, statement: str, values: tuple[object, ...] | dict[str, object]) -> int:
    row = connection.execute(statement.encode(), values).fetchone()
    return 0 if row is None else int(row[0])
