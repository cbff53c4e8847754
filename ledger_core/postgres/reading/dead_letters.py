"""Reading rejected records, for commands: a page at a time, one by one, and how many there are.

Guarantees: every question is answered by an index, and reads no more than it shows: a page holds at most PAGE_BYTES_MAX
of originals (or one), a count goes up to COUNT_MAX of each reason. So neither memory nor time grows with the ledger.
Read-only; needs the role finance_api.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ledger_core.errors import RejectReason
from ledger_core.ports import Record
from ledger_core.postgres.posting.plan_writer import headers_from_json
from ledger_core.postgres.session import Session

PAGE_BYTES_MAX: Final = 8 * 1024 * 1024
COUNT_MAX: Final = 100_000
REASONS: Final = [reason.value for reason in RejectReason]

COLUMNS: Final = """v.shard, v.source_offset, v.reason, v.detail, v.event_id::text, v.first_verdict,
       coalesce(d.topic, s.topic), coalesce(d.timestamp_ms, 0), d.key, d.value, coalesce(d.headers, '[]')"""

# One index range in the shard where the page begins, and one behind it, for each reason.
PLACES: Final = """
SELECT v.* FROM unnest(%(reasons)s::text[]) AS wanted (reason), LATERAL (
    (SELECT shard, source_offset FROM verdicts
      WHERE verdict = 'rejected' AND reason = wanted.reason AND shard = %(shard)s AND source_offset < %(offset)s
      ORDER BY shard, source_offset DESC LIMIT %(limit)s)
    UNION ALL
    (SELECT shard, source_offset FROM verdicts
      WHERE verdict = 'rejected' AND reason = wanted.reason AND shard > %(shard)s AND NOT %(only)s
      ORDER BY shard, source_offset DESC LIMIT %(limit)s)) AS v
 ORDER BY v.shard, v.source_offset DESC LIMIT %(limit)s"""

PAGE: Final = f"""
WITH places AS ({PLACES}), sized AS (
    SELECT p.shard, p.source_offset, count(*) OVER () AS found,
           sum(coalesce(octet_length(d.key), 0) + coalesce(octet_length(d.value), 0)
               + coalesce(octet_length(d.headers::text), 0))
               OVER (ORDER BY p.shard, p.source_offset DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
      FROM places p LEFT JOIN dead_letters d USING (shard, source_offset))
SELECT sized.found, {COLUMNS}
  FROM sized JOIN verdicts v USING (shard, source_offset) JOIN shards s USING (shard)
  LEFT JOIN dead_letters d USING (shard, source_offset)
 WHERE coalesce(sized.before, 0) < %(bytes)s ORDER BY v.shard, v.source_offset DESC"""

ONE: Final = f"""
SELECT {COLUMNS} FROM verdicts v JOIN shards s USING (shard) LEFT JOIN dead_letters d USING (shard, source_offset)
 WHERE v.verdict = 'rejected' AND v.shard = %s AND v.source_offset = %s"""

COUNTS: Final = """
SELECT wanted.reason, (SELECT count(*) FROM (SELECT 1 FROM verdicts v WHERE v.verdict = 'rejected'
                        AND v.reason = wanted.reason LIMIT %s) AS counted)
  FROM unnest(%s::text[]) AS wanted (reason)"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One rejected record with its verdict. `record.value` None: the offset held no record, or an empty one."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    source_offset: int  # settlements offset
    reason: str  # code of the verdict
    detail: str  # for people; proved nowhere
    event_id: str | None  # as far as it could be read
    first_verdict: bool  # whether it settled its event id for ever
    record: Record  # as it was read, from the database


class Place(NamedTuple):
    """Where a page ended: the next one goes on behind it."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    source_offset: int  # settlements offset of the last record of the page

    def __str__(self) -> str:
        return f"{self.shard}:{self.source_offset}"


class Page(NamedTuple):
    """Rejected records, shard by shard, newest first in each."""

    letters: list[DeadLetter]  # in the order of the question
    end: Place | None  # None: there are no more


def page(
    connection: Session, *, shard: int | None = None, reason: str = "", after: Place | None = None, limit: int
) -> Page:
    """The next rejected records behind a place, at most `limit` of them."""
    wanted = _wanted(shard, reason, after, limit)
    rows = connection.execute(PAGE, {**wanted, "bytes": PAGE_BYTES_MAX}).fetchall()
    letters = [_dead_letter(row[1:]) for row in rows]
    found = rows[0][0] if rows else 0
    more = found == limit or len(letters) < found
    return Page(letters, Place(letters[-1].shard, letters[-1].source_offset) if more and letters else None)


def newest_offsets(connection: Session, *, shard: int, reason: str, limit: int) -> list[int]:
    """The offsets of the newest rejected records of a shard and reason, oldest first."""
    rows = connection.execute(PLACES, _wanted(shard, reason, None, limit)).fetchall()
    return sorted(int(offset) for _, offset in rows)


def one(connection: Session, shard: int, offset: int) -> DeadLetter | None:
    """The rejected record of an offset; None when it was not rejected."""
    row = connection.execute(ONE, (shard, offset)).fetchone()
    return None if row is None else _dead_letter(row)


def pieces(connection: Session, shard: int, offsets: Sequence[int]) -> Iterator[list[DeadLetter]]:
    """The rejected records of these offsets in their order, those that there are, up to PAGE_BYTES_MAX at once."""
    piece: list[DeadLetter] = []
    weight = 0
    for offset in offsets:
        letter = one(connection, shard, offset)
        if letter is not None:
            piece.append(letter)
            weight += len(letter.record.key or b"") + len(letter.record.value or b"")
        if weight >= PAGE_BYTES_MAX:
            yield piece
            piece, weight = [], 0
    if piece:
        yield piece


def counts(connection: Session) -> dict[str, int]:
    """How many records were rejected, per reason that occurs, most first; COUNT_MAX stands for as many or more."""
    found = [(str(reason), int(count)) for reason, count in connection.execute(COUNTS, (COUNT_MAX, REASONS)) if count]
    return dict(sorted(found, key=lambda item: (-item[1], item[0])))


def total(connection: Session) -> int:
    """How many records were rejected in all."""
    row = connection.execute("SELECT coalesce(sum(rejected), 0) FROM shards").fetchone()
    return 0 if row is None else int(row[0])


def _wanted(shard: int | None, reason: str, after: Place | None, limit: int) -> dict[str, object]:
    begin = after or Place(-1 if shard is None else shard, 2**63 - 1)
    return {
        "reasons": [reason] if reason else REASONS,
        "shard": begin.shard,
        "offset": begin.source_offset,
        "only": shard is not None,
        "limit": limit,
    }


def _dead_letter(row: tuple[object, ...]) -> DeadLetter:
    shard, offset, reason, detail, event_id, first_verdict, topic, timestamp_ms, key, value, headers = row
    record = Record(topic, shard, offset, timestamp_ms, key, value, headers_from_json(headers))  # type: ignore[arg-type]
    return DeadLetter(shard, offset, reason, detail, event_id, first_verdict, record)  # type: ignore[arg-type]
