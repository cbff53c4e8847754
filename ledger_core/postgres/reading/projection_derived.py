"""Whether what a projection derives from its entries is what they come to: a row of each of its tables.

Guarantees: each row of lines, ends, blocks, totals, moments, chunks, series and shards is compared with what the
entries come to, by the rule that made it, said anew as one statement over all rows; so no row that answers read can be
missing, additional or other than due. In the caller's snapshot; memory is the server's, which sorts on its disk.
Does not: compare entries with the ledger (`projection_check`), or cursors of topics: one that is too high lets its
shard stand at the gap, and one that is too low reads again what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ledger_core.findings import Collector
from ledger_core.postgres.session import Session
from ledger_core.reading.blocks import BLOCK_LINES, FAN_OUT
from ledger_core.reading.chunks import CHUNK_BITS, CHUNKS_A_SHARD_BITS

_MOMENT: Final = "timestamptz '1970-01-01T00:00Z' + {} * interval '1 microsecond'"
_MONTH: Final = """(extract(year FROM known_at AT TIME ZONE 'UTC') * 12
                    + extract(month FROM known_at AT TIME ZONE 'UTC') - 1)::int"""
_KEY: Final = (
    f"(((%(shard)s::bigint << {CHUNKS_A_SHARD_BITS}) | ((e.seq - 1) >> {CHUNK_BITS})) << 32 "
    "| ('x' || encode(substr(sha256(convert_to({}, 'UTF8')), 1, 4), 'hex'))::bit(32)::bigint)"
)
_SLOTS: Final = f"slot >> {CHUNKS_A_SHARD_BITS} = %(shard)s"

# Entries of a stretch whose keys, partition or time are not due: the first one.
ENTRIES: Final = f"""
WITH e AS (SELECT *, lag(known_at) OVER (ORDER BY seq) AS before FROM entries
            WHERE shard = %(shard)s AND seq BETWEEN %(first)s - 1 AND %(last)s)
SELECT e.seq FROM e
  LEFT JOIN reading.kept_times a ON a.shard = e.shard AND a.seq = e.seq AND a.why = 'ahead'
  LEFT JOIN reading.kept_times c ON c.shard = e.shard AND c.seq = e.seq AND c.why = 'closed'
 WHERE e.seq >= %(first)s AND (
       e.known_at <> greatest(e.before, {_MOMENT.format("c.known_us")},
                              coalesce({_MOMENT.format("a.known_us")}, e.recorded_at))
       OR e.known_month <> {_MONTH} OR e.event_key <> {_KEY.format("e.event_id::text")}
       OR e.settlement_key <> {_KEY.format("e.settlement_id")} OR e.order_key <> {_KEY.format("e.order_id")}
       OR e.reference_key IS DISTINCT FROM {_KEY.format("e.reference")})
 ORDER BY 1 LIMIT 1"""

_LINES_CELLS: Final = f"""
cells AS (
    SELECT series_no, (position - 1) / {BLOCK_LINES} AS block_no, effective_day AS day, count(*) AS lines,
           sum(greatest(amount_minor, 0)) AS debits, sum(greatest(-amount_minor, 0)) AS credits
      FROM lines WHERE {_SLOTS} GROUP BY 1, 2, 3), due AS (
    SELECT *, sum(debits) OVER upto AS all_debits, sum(credits) OVER upto AS all_credits,
           sum(lines) OVER (PARTITION BY series_no, block_no) AS all_lines
      FROM cells WINDOW upto AS (PARTITION BY series_no, block_no ORDER BY day))"""
_TOTALS_CELLS: Final = f"""
cells AS (
    SELECT (e.seq - 1) / {BLOCK_LINES} AS block_no, split_part(s.account, ':', 1) AS type, s.currency,
           e.effective_day AS day, sum(greatest(l.amount, 0)) AS debits, sum(greatest(-l.amount, 0)) AS credits
      FROM entries e CROSS JOIN LATERAL unnest(e.series_nos, e.amounts_minor) AS l (series_no, amount)
      JOIN series s ON s.shard = e.shard AND s.series_no = l.series_no
     WHERE e.shard = %(shard)s GROUP BY 1, 2, 3, 4), due AS (
    SELECT *, sum(debits) OVER upto AS all_debits, sum(credits) OVER upto AS all_credits
      FROM cells WINDOW upto AS (PARTITION BY block_no, type, currency ORDER BY day))"""


# How many blocks of a level are full: by series, or of the shard.
_NEWEST: Final[Mapping[str, str]] = {
    "blocks": f"""SELECT series_no, (max(block_no) + 1) / {FAN_OUT} AS blocks FROM blocks
                   WHERE shard = %(shard)s AND level = %(level)s - 1 GROUP BY 1""",
    "totals": f"""SELECT (max(block_no) + 1) / {FAN_OUT} AS blocks FROM totals
                   WHERE shard = %(shard)s AND level = %(level)s - 1""",
}
_APART: Final[Mapping[str, str]] = {"blocks": "JOIN newest USING (series_no)", "totals": "CROSS JOIN newest"}


def _level(table: str, series: str) -> str:
    """Sums of a level from those of the level below it; `series`: what they are kept apart by."""
    return f"""
WITH steps AS (
    SELECT {series}, block_no / {FAN_OUT} AS block_no, day, block_no AS part,
           debits - coalesce(lag(debits) OVER upto, 0) AS debits,
           credits - coalesce(lag(credits) OVER upto, 0) AS credits
      FROM {table} WHERE shard = %(shard)s AND level = %(level)s - 1
    WINDOW upto AS (PARTITION BY {series}, block_no ORDER BY day)), cells AS (
    SELECT {series}, block_no, day, sum(debits) AS debits, sum(credits) AS credits FROM steps GROUP BY {series},
           block_no, day), due AS (
    SELECT *, sum(debits) OVER upto AS all_debits, sum(credits) OVER upto AS all_credits
      FROM cells WINDOW upto AS (PARTITION BY {series}, block_no ORDER BY day)), newest AS ({_NEWEST[table]})
SELECT NULL FROM (SELECT d.* FROM due d {_APART[table]} WHERE d.block_no < newest.blocks) AS d
  FULL JOIN (SELECT * FROM {table} WHERE shard = %(shard)s AND level = %(level)s) AS t
 USING ({series}, block_no, day)
 WHERE (d.all_debits, d.all_credits) IS DISTINCT FROM (t.debits, t.credits) LIMIT 1"""


# table -> a statement that gives the sequence (or NULL) of a row that is not due, for one shard.
ROWS: Final[Mapping[str, tuple[str, ...]]] = {
    "shards": (
        """
SELECT s.seq FROM shards s LEFT JOIN LATERAL (
       SELECT seq, entry_hash, known_at FROM entries WHERE shard = s.shard ORDER BY seq DESC LIMIT 1) AS e ON true
  LEFT JOIN reading.kept_times c ON c.shard = s.shard AND c.seq = s.seq + 1 AND c.why = 'closed'
 WHERE s.shard = %(shard)s AND (
       (s.seq, s.head) IS DISTINCT FROM (coalesce(e.seq, 0), e.entry_hash)
       OR s.next_offset < s.seq OR s.series <> (SELECT count(*) FROM series WHERE shard = s.shard)
       OR s.known_us <> ALL (ARRAY[coalesce((extract(epoch FROM e.known_at) * 1000000)::bigint, 0),
                                   greatest((extract(epoch FROM e.known_at) * 1000000)::bigint, c.known_us)]))""",
    ),
    "chunks": (
        f"""
SELECT NULL FROM (
    SELECT DISTINCT (seq - 1) >> {CHUNK_BITS} AS chunk, known_month::int FROM entries WHERE shard = %(shard)s) AS d
  FULL JOIN (SELECT chunk, known_month, slot FROM chunks WHERE shard = %(shard)s) AS t USING (chunk, known_month)
 WHERE t.slot IS DISTINCT FROM ((%(shard)s::bigint << {CHUNKS_A_SHARD_BITS}) | d.chunk) LIMIT 1""",
    ),
    "series": (
        f"""
SELECT NULL FROM (
    SELECT series_no, min(slot) & {(1 << CHUNKS_A_SHARD_BITS) - 1} AS oldest,
           max(slot) & {(1 << CHUNKS_A_SHARD_BITS) - 1} AS newest
      FROM lines WHERE {_SLOTS} GROUP BY 1) AS d
  FULL JOIN (SELECT * FROM series WHERE shard = %(shard)s) AS t USING (series_no)
 WHERE (d.oldest, d.newest) IS DISTINCT FROM (t.first_chunk, t.last_chunk)
    OR series_no NOT BETWEEN 1 AND (SELECT count(*) FROM series WHERE shard = %(shard)s) LIMIT 1""",
    ),
    "lines": (
        f"""
SELECT seq FROM (
    SELECT seq, position, row_number() OVER (PARTITION BY series_no ORDER BY seq, line_no) AS due
      FROM lines WHERE {_SLOTS}) AS l WHERE position <> due ORDER BY 1 LIMIT 1""",
        f"""
SELECT NULL WHERE (SELECT count(*) FROM lines WHERE {_SLOTS})
    <> (SELECT coalesce(sum(cardinality(series_nos)), 0) FROM entries WHERE shard = %(shard)s)""",
    ),
    "ends": (
        f"""
SELECT seq FROM (
    SELECT series_no, seq, line_no, position / {BLOCK_LINES} - 1 AS block_no FROM lines
     WHERE {_SLOTS} AND position %% {BLOCK_LINES} = 0) AS d
  FULL JOIN (SELECT * FROM ends WHERE shard = %(shard)s) AS t USING (series_no, seq, line_no)
 WHERE d.block_no IS DISTINCT FROM t.block_no ORDER BY 1 LIMIT 1""",
    ),
    "moments": (
        f"""
SELECT seq FROM (
    SELECT seq, (extract(epoch FROM known_at) * 1000000)::bigint AS known_us FROM entries
     WHERE shard = %(shard)s AND seq %% {BLOCK_LINES} = 0) AS d
  FULL JOIN (SELECT * FROM moments WHERE shard = %(shard)s) AS t USING (seq, known_us)
 WHERE d.known_us IS NULL OR t.shard IS NULL ORDER BY 1 LIMIT 1""",
    ),
    "blocks": (
        f"""
WITH {_LINES_CELLS}
SELECT NULL FROM (SELECT * FROM due WHERE all_lines = {BLOCK_LINES}) AS d
  FULL JOIN (SELECT * FROM blocks WHERE shard = %(shard)s AND level = 0) AS t USING (series_no, block_no, day)
 WHERE (d.all_debits, d.all_credits) IS DISTINCT FROM (t.debits, t.credits) LIMIT 1""",
    ),
    "totals": (
        f"""
WITH {_TOTALS_CELLS}
SELECT NULL FROM (SELECT * FROM due WHERE block_no < (SELECT max(seq) / {BLOCK_LINES} FROM entries
                                                       WHERE shard = %(shard)s)) AS d
  FULL JOIN (SELECT * FROM totals WHERE shard = %(shard)s AND level = 0) AS t USING (block_no, type, currency, day)
 WHERE (d.all_debits, d.all_credits) IS DISTINCT FROM (t.debits, t.credits) LIMIT 1""",
    ),
}
LEVELS: Final[Mapping[str, str]] = {
    "blocks": _level("blocks", "series_no"),
    "totals": _level("totals", "type, currency"),
}
# A shard in which nothing came was closed, at most: the ledger may not have it yet.
SHARDS: Final = " UNION ".join(
    f"SELECT shard::int FROM {table}"
    for table in ("series", "chunks", "entries", "ends", "blocks", "totals", "moments", "closings", "objects")
) + (
    f" UNION SELECT slot >> {CHUNKS_A_SHARD_BITS} FROM lines UNION SELECT shard FROM outcomes "
    "UNION SELECT shard FROM verdicts UNION SELECT shard FROM shards WHERE seq <> 0 "
    "UNION SELECT shard FROM reading.kept_times WHERE (seq, why) <> (1, 'closed')"
)


def check_derived(asked: Session, shards: Iterable[int], found: Collector) -> None:
    """Every row that is derived from entries, and that there is no row of a shard that the ledger has not."""
    ours = set(shards)
    for (shard,) in asked.execute(SHARDS).fetchall():
        if shard not in ours:
            found.add("projection.shard", "the ledger has no such shard", shard=shard)
    for shard in sorted(ours):
        for table, statements in ROWS.items():
            for statement in statements:
                _check(asked, statement, table, {"shard": shard}, found)
        for table, statement in LEVELS.items():
            row = asked.execute(f"SELECT max(level) FROM {table} WHERE shard = %s".encode(), (shard,)).fetchone()
            for level in range(1, (row[0] if row and row[0] is not None else 0) + 2):
                _check(asked, statement, table, {"shard": shard, "level": level}, found)


def check_entry_rows(asked: Session, shard: int, first: int, last: int, found: Collector) -> bool:
    """Of entries of a stretch: where they are found, and since when they are known. Whether they are as due."""
    return _check(asked, ENTRIES, "entries", {"shard": shard, "first": first, "last": last}, found)


def _check(asked: Session, statement: str, table: str, values: Mapping[str, int], found: Collector) -> bool:
    row = asked.execute(statement.encode(), values).fetchone()
    if row is not None:
        found.add("projection.row", "is not what its entries come to", shard=values["shard"], seq=row[0], place=table)
    return row is None
