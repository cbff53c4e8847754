"""Whether what a projection heard of other topics is what the ledger has: verdicts that posted nothing, and links.

Guarantees: each row is compared, in the order of its key, with the ledger's; one that the ledger has and the projection
has not is a difference wherever the projection says that none is missing: verdicts from `complete_from` on, and ranges,
proofs and objects up to the newest that was heard of. The first difference of each table and shard is named. Both sides
stream: memory does not grow with them.
Does not: compare the settlement of a rejected record, which the ledger keeps only in the original; or how far topics
were read.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from typing import Any, Final

from ledger_core.findings import Collector
from ledger_core.postgres.session import Session

FETCHED: Final = 2_000  # rows at once
OUTCOMES: Final = "SELECT decided, complete_from FROM outcomes WHERE shard = %s"
NEXT_OFFSET: Final = "SELECT next_offset FROM shards WHERE shard = %s"
# The settlement of a record that came again is that of the entry of its event.
SETTLEMENT: Final = """
SELECT v.shard, v.source_offset FROM verdicts v JOIN entries e USING (event_id)
 WHERE v.verdict = 'duplicate' AND v.settlement_id IS DISTINCT FROM e.settlement_id LIMIT 1"""
_PROJECTED_VERDICTS: Final = """
SELECT source_offset, event_id::text, verdict, reason FROM verdicts
 WHERE shard = %(shard)s AND source_offset >= %(first)s ORDER BY source_offset"""
_LEDGER_VERDICTS: Final = """
SELECT source_offset, event_id::text, verdict, reason FROM verdicts
 WHERE shard = %(shard)s AND source_offset >= %(first)s AND source_offset < %(end)s
 ORDER BY source_offset"""

# table -> (of the projection, of the ledger), of one shard: key first, then everything else that a row has.
LINKS: Final[Mapping[str, tuple[str, str]]] = {
    "closings": (
        "SELECT range_no, first_seq, last_seq, proof_hash FROM closings WHERE shard = %(shard)s ORDER BY 1",
        "SELECT range_no, first_seq, last_seq, hash FROM ranges WHERE shard = %(shard)s AND range_no <= %(end)s "
        "ORDER BY 1",
    ),
    "proofs": (
        "SELECT c.range_no, p.proof_id FROM proofs p JOIN closings c USING (proof_hash) WHERE c.shard = %(shard)s "
        "ORDER BY 1",
        "SELECT range_no, proof_id FROM proofs WHERE shard = %(shard)s AND range_no <= %(end)s ORDER BY 1",
    ),
    "objects": (
        "SELECT range_no, object_key, version_id FROM objects WHERE shard = %(shard)s ORDER BY 1",
        "SELECT range_no, object_key, version_id FROM archive_objects WHERE shard = %(shard)s "
        "AND range_no <= %(end)s ORDER BY 1",
    ),
}
NEWEST: Final = "SELECT coalesce(max(range_no), 0) FROM ({}) AS heard"
STRAY: Final = """
SELECT FROM proofs LEFT JOIN closings USING (proof_hash) WHERE closings.shard IS NULL LIMIT 1"""

Row = Sequence[Any]


def merged(ours: Iterable[Row], theirs: Iterable[Row], key: int) -> Iterator[tuple[Row, Row | None, Row | None]]:
    """Rows of two sources by their key, the first `key` columns, in which both are in order: (key, ours, theirs), None
    where a source has none."""
    both = heapq.merge(
        ((tuple(row[:key]), 0, row) for row in ours),
        ((tuple(row[:key]), 1, row) for row in theirs),
        key=lambda it: it[:2],
    )
    for place, group in groupby(both, key=lambda it: it[0]):
        found = {source: row for _, source, row in group}
        yield place, found.get(0), found.get(1)


def check_verdicts(ledger: Session, asked: Session, shard: int, newest: int | None, found: Collector) -> None:
    """Verdicts of a shard that posted nothing: all, or those of the `newest` offsets that were heard."""
    decided, complete_from = asked.execute(OUTCOMES, (shard,)).fetchone() or (None, None)
    end = 0 if decided is None else int(decided)
    row = ledger.execute(NEXT_OFFSET, (shard,)).fetchone()
    if end > (0 if row is None else int(row[0])) or (complete_from is not None and complete_from > end):
        found.add("projection.outcomes", "more is heard of than the ledger has decided", shard=shard, place="outcomes")
        return
    whole_from = end if complete_from is None else int(complete_from)
    values = {"shard": shard, "first": 0 if newest is None else max(0, end - newest), "end": end}
    theirs = streamed(asked, _PROJECTED_VERDICTS, values)
    with closing(theirs), closing(streamed(ledger, _LEDGER_VERDICTS, values)) as ours:
        for (offset,), our, their in merged(ours, theirs, 1):
            found.count("verdicts")
            if their is None and offset < whole_from:
                continue  # not heard of: the topic had forgotten it
            if our != their:
                message = f"what became of offset {offset} is not what the ledger says"
                found.add("projection.verdict", message, shard=shard, place="verdicts")
                return


def check_settlements(asked: Session, found: Collector) -> None:
    """The settlement of each record that came again is that of its event."""
    row = asked.execute(SETTLEMENT).fetchone()
    if row is not None:
        message = f"the record at offset {row[1]} came again under another settlement"
        found.add("projection.verdict", message, shard=row[0], field="settlement_id", place="verdicts")


def check_links(ledger: Session, asked: Session, shard: int, found: Collector) -> None:
    """Ranges of a shard, their proofs and objects, up to the newest that was heard of."""
    for table, (projected, stored) in LINKS.items():
        row = asked.execute(NEWEST.format(projected).encode(), {"shard": shard}).fetchone()
        values = {"shard": shard, "end": row[0] if row else 0}
        with closing(streamed(asked, projected, values)) as theirs, closing(streamed(ledger, stored, values)) as ours:
            for (range_no,), our, their in merged(ours, theirs, 1):
                found.count("links")
                if our != their:
                    message = f"range {range_no} is linked to what the ledger does not have so"
                    found.add("projection.link", message, shard=shard, place=table)
                    break


def check_stray_proofs(asked: Session, found: Collector) -> None:
    """No proof is there of a range that nobody closed."""
    if asked.execute(STRAY).fetchone() is not None:
        found.add("projection.link", "a proof is of no range that was closed", place="proofs")


def streamed(session: Session, statement: str, values: Mapping[str, object]) -> Generator[Row]:
    """Rows as they are asked for, some thousand at a time; the session's transaction, or one of its own."""
    with session.transaction(), session.cursor(name="compared") as cursor:
        cursor.itersize = FETCHED
        cursor.execute(statement.encode(), values)
        yield from cursor
