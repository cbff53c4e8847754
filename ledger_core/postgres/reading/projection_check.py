"""Whether a projection is what the ledger says: heads, counts, balances and lines, each difference a finding.

Guarantees: everything of the ledger is of one snapshot (`LedgerSide`), and of the projection of another, at the
position of the first; so posting goes on meanwhile. The first difference of each kind and shard is named. A balance is
compared with the ledger's own, and for one day with the plain sum of its lines. Read-only on both sides.
Memory is bounded, whatever the ledger holds: entries are read by the size of their bodies, sums as a stream.
Does not: check the ledger (`finance verify ledger`), what is derived from entries (`projection_derived`), or what other
topics said (`projection_said`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from typing import Any, Final, NamedTuple

from ledger_core.findings import Collector
from ledger_core.postgres.reading.projection_balances import account_sides, trial_sides
from ledger_core.postgres.reading.projection_derived import check_entry_rows
from ledger_core.postgres.reading.projection_said import Row, merged, streamed
from ledger_core.postgres.session import Session
from ledger_core.reading.chunks import CHUNK_BITS, CHUNKS_A_SHARD_BITS, chunk_of
from ledger_core.reading.compare import ComparedEntry, differences, of_ledger
from ledger_core.reading.rows import Leg
from ledger_core.times import EPOCH, MICROSECOND

PAGE_ENTRIES: Final = 500
PAGE_BYTES: Final = 4_000_000  # of bodies, compared together
EPOCH_DAY: Final = EPOCH.date()

HEADS: Final = "SELECT shard, seq, head_hash FROM shards ORDER BY shard"
BY_TYPE: Final = """
SELECT split_part(a.account, ':', 1), b.currency, sum(b.debits), sum(b.credits)
  FROM balances b JOIN accounts a USING (shard, account_no) GROUP BY 1, 2"""
ACCOUNTS: Final = """
SELECT DISTINCT account FROM accounts WHERE account > %s ORDER BY account LIMIT %s"""
BALANCES: Final = """
SELECT a.account, b.currency, sum(b.debits), sum(b.credits)
  FROM accounts a JOIN balances b USING (shard, account_no) WHERE a.account = ANY(%s) GROUP BY 1, 2"""
EVERY_BALANCE: Final = """
SELECT a.account COLLATE "C", b.currency, sum(b.debits), sum(b.credits)
  FROM accounts a JOIN balances b USING (shard, account_no) GROUP BY 1, 2 ORDER BY 1, 2"""
EVERY_SUM: Final = f"""
SELECT s.account COLLATE "C", s.currency, sum(l.debits), sum(l.credits) FROM (
    SELECT p.shard, l.series_no, sum(greatest(l.amount_minor, 0)) AS debits,
           sum(greatest(-l.amount_minor, 0)) AS credits
      FROM unnest(%(shards)s::int4[], %(seqs)s::int8[]) AS p (shard, upto)
      JOIN lines l ON l.slot >> {CHUNKS_A_SHARD_BITS} = p.shard AND l.seq <= p.upto GROUP BY 1, 2) AS l
  JOIN series s USING (shard, series_no) GROUP BY 1, 2 ORDER BY 1, 2"""
SIZES: Final = """
SELECT seq, octet_length(body) FROM entries WHERE shard = %s AND seq BETWEEN %s AND %s ORDER BY seq"""
BODIES: Final = "SELECT seq, body, entry_hash FROM entries WHERE shard = %s AND seq BETWEEN %s AND %s ORDER BY seq"
HEAD_AT: Final = "SELECT entry_hash FROM entries WHERE shard = %s AND seq = %s"
ROWS: Final = """
SELECT e.seq, e.entry_hash, e.event_id::text, e.event_type, e.settlement_id, e.order_id, e.provider, e.reference,
       e.reverses::text, e.source_offset, e.occurred_at, e.recorded_at, e.effective_day, l.accounts, l.currencies,
       e.amounts_minor
  FROM entries e CROSS JOIN LATERAL (
       SELECT array_agg(s.account ORDER BY n.line_no) AS accounts,
              array_agg(s.currency ORDER BY n.line_no) AS currencies
         FROM unnest(e.series_nos) WITH ORDINALITY AS n (series_no, line_no)
         JOIN series s ON s.shard = e.shard AND s.series_no = n.series_no) AS l
 WHERE e.shard = %s AND e.seq BETWEEN %s AND %s ORDER BY e.seq"""
# Lines of a stretch of a chunk that are not those of its entries, or stand at another place.
LINES: Final = f"""
WITH of_entries AS (
    SELECT e.seq, n.line_no::int2 AS line_no, n.series_no, n.amount_minor, e.effective_day, e.known_month,
           (e.shard::int << {CHUNKS_A_SHARD_BITS}) | ((e.seq - 1) >> {CHUNK_BITS})::int AS slot
      FROM entries e CROSS JOIN LATERAL unnest(e.series_nos, e.amounts_minor)
           WITH ORDINALITY AS n (series_no, amount_minor, line_no)
     WHERE e.shard = %(shard)s AND e.seq BETWEEN %(first)s AND %(last)s), of_lines AS (
    SELECT l.seq, l.line_no, l.series_no, l.amount_minor, l.effective_day, l.known_month, l.slot
      FROM (SELECT DISTINCT slot FROM chunks
             WHERE shard = %(shard)s AND chunk BETWEEN %(from_chunk)s AND %(to_chunk)s) AS c JOIN lines l USING (slot)
     WHERE l.seq BETWEEN %(first)s AND %(last)s)
SELECT coalesce(e.seq, l.seq) FROM of_entries e FULL JOIN of_lines l USING (seq, line_no)
 WHERE (e.series_no, e.amount_minor, e.effective_day, e.known_month, e.slot)
       IS DISTINCT FROM (l.series_no, l.amount_minor, l.effective_day, l.known_month, l.slot)
 ORDER BY 1 LIMIT 1"""
ON_DAY: Final = """
SELECT s.currency, coalesce(sum(l.amount_minor), 0)
  FROM series s JOIN (SELECT DISTINCT shard, slot FROM chunks) AS c USING (shard)
  JOIN lines l ON l.slot = c.slot AND l.series_no = s.series_no
  JOIN unnest(%(shards)s::int4[], %(seqs)s::int8[]) AS p (shard, upto) ON p.shard = s.shard AND l.seq <= p.upto
 WHERE s.account = %(account)s COLLATE "C" AND l.effective_day <= %(day)s GROUP BY 1"""
MIDDLE_DAY: Final = """
SELECT count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY effective_day) FROM (
    SELECT l.effective_day FROM series s JOIN (SELECT DISTINCT shard, slot FROM chunks) AS c USING (shard)
      JOIN lines l ON l.slot = c.slot AND l.series_no = s.series_no
     WHERE s.account = %s COLLATE "C" LIMIT %s) AS l"""
COUNTED: Final = "SELECT count(*) FROM entries WHERE shard = %s AND seq <= %s"
LINES_OF_DAY_MAX: Final = 100_000  # of an account whose sum as of a day is added up from its lines

Sums = Mapping[tuple[str, str], tuple[int, int]]
"""(account or type, currency) -> debits and credits, minor units."""


class LedgerSide(NamedTuple):
    """What the ledger has, of one snapshot."""

    heads: Mapping[int, tuple[int, bytes | None]]  # of each shard: newest sequence, and its link of the chain
    types: Sums  # of all accounts of each type
    accounts: Sums  # of those that are compared


def ledger_side(ledger: Session, accounts: Sequence[str]) -> LedgerSide:
    """Heads, sums by type, and the balances of these accounts. In the caller's snapshot."""
    heads = {shard: (seq, head) for shard, seq, head in ledger.execute(HEADS)}
    types = {(kind, code): (int(debits), int(credits_)) for kind, code, debits, credits_ in ledger.execute(BY_TYPE)}
    found = ledger.execute(BALANCES, (list(accounts),)) if accounts else ()
    balances = {(name, code): (int(debits), int(credits_)) for name, code, debits, credits_ in found}
    return LedgerSide(heads, types, balances)


def accounts_of(ledger: Session, at_most: int) -> list[str]:
    """Accounts to compare as they are asked for: `at_most` of them, spread evenly. In the caller's snapshot."""
    if at_most == 0:
        return []
    row = ledger.execute("SELECT count(*) FROM accounts").fetchone()
    step = 1 if row is None else max(1, int(row[0]) // at_most)
    names: list[str] = []
    after = ""
    while page := [str(name) for (name,) in ledger.execute(ACCOUNTS, (after, PAGE_ENTRIES * step))]:
        names += page[::step]
        after = page[-1]
        if len(names) >= at_most:
            return names[:at_most]
    return names


def check_sums(asked: Session, side: LedgerSide, found: Collector) -> None:
    """Heads, the trial balance, and the balances of accounts, at the ledger's position."""
    position = {shard: seq for shard, (seq, _) in side.heads.items()}
    for shard, (seq, head) in side.heads.items():
        found.count("shards")
        row = asked.execute(HEAD_AT, (shard, seq)).fetchone() if seq else None
        if seq and (row is None or row[0] != head):
            what = "is missing" if row is None else "is another one"
            found.add("projection.head", f"the ledger's newest entry {what} in the projection", shard=shard, seq=seq)
    trial = {(it.name, it.currency): (it.debits, it.credits) for it in trial_sides(asked, position)}
    _compare_sums(side.types, trial, "projection.trial", found)
    for name, keys in groupby(sorted(side.accounts), key=lambda it: it[0]):
        found.count("accounts")
        ours = {key: side.accounts[key] for key in keys}
        theirs = {(name, it.currency): (it.debits, it.credits) for it in account_sides(asked, name, position)}
        _compare_sums(ours, theirs, "projection.balance", found)
        _check_day(asked, name, position, found)


def _compare_sums(ledger: Sums, projection: Sums, code: str, found: Collector) -> None:
    for key in sorted({*ledger, *projection}):
        if ledger.get(key, (0, 0)) != projection.get(key, (0, 0)):
            found.add(code, f"{key[1]}: the projection comes to another sum than the ledger", place=key[0])


def _check_day(asked: Session, account: str, position: Mapping[int, int], found: Collector) -> None:
    """The sum as of the effective day in the middle, from blocks and from lines."""
    row = asked.execute(MIDDLE_DAY, (account, LINES_OF_DAY_MAX)).fetchone()
    if row is None or row[1] is None or row[0] >= LINES_OF_DAY_MAX:
        return
    day: dt.date = row[1]
    values = {"shards": list(position), "seqs": list(position.values()), "account": account, "day": day}
    plain = {code: int(amount) for code, amount in asked.execute(ON_DAY, values)}
    blocks = {it.currency: it.debits - it.credits for it in account_sides(asked, account, position, day)}
    for code in sorted({*plain, *blocks}):
        if plain.get(code, 0) != blocks.get(code, 0):
            found.add("projection.day", f"{code}: the sum as of {day} is not that of its lines", place=account)


def check_balances(
    asked: Session, ours: Iterable[Row], heads: Mapping[int, tuple[int, bytes | None]], found: Collector
) -> None:
    """Every account of the ledger, `ours` in the order of EVERY_BALANCE, with the plain sums of its lines."""
    values = {"shards": list(heads), "seqs": [seq for seq, _ in heads.values()]}
    with closing(streamed(asked, EVERY_SUM, values)) as theirs:
        for (account, code), our, their in merged(ours, theirs, 2):
            found.count("balances")
            if [int(it) for it in (our or (0,) * 4)[2:]] != [int(it) for it in (their or (0,) * 4)[2:]]:
                found.add("projection.balance", f"{code}: its lines come to another sum than the ledger", place=account)
                return


def check_entries(
    ledger: Session, asked: Session, shard: int, stretches: Iterator[tuple[int, int]], found: Collector
) -> None:
    """Entries of stretches [first, last], each field, and their lines; a shard ends with its first difference."""
    for first, last in stretches:
        for begin, end in _by_size(ledger.execute(SIZES, (shard, first, last)), first, last):
            if not _same_entries(ledger, asked, shard, begin, end, found):
                return
        chunks = {"from_chunk": chunk_of(first), "to_chunk": chunk_of(last)}
        row = asked.execute(LINES.encode(), {"shard": shard, "first": first, "last": last, **chunks}).fetchone()
        if row is not None:
            found.add("projection.lines", "its lines are not those of the entry", shard=shard, seq=int(row[0]))
            return
        if not check_entry_rows(asked, shard, first, last, found):
            return


def _by_size(sizes: Iterable[tuple[Any, ...]], first: int, last: int) -> Iterator[tuple[int, int]]:
    """Parts of a stretch that hold PAGE_BYTES of bodies, or one entry."""
    begin, held = first, 0
    for seq, size in sizes:
        if held and held + size > PAGE_BYTES:
            yield begin, seq - 1
            begin, held = seq, 0
        held += size
    yield begin, last


def _same_entries(ledger: Session, asked: Session, shard: int, first: int, last: int, found: Collector) -> bool:
    """Whether entries [first, last] are the same on both sides, each field; the first that differs is a finding."""
    bodies = ledger.execute(BODIES, (shard, first, last))
    ours = {seq: of_ledger(bytes(body), bytes(link)) for seq, body, link in bodies}
    theirs = {int(row[0]): _entry(row[1:]) for row in asked.execute(ROWS, (shard, first, last))}
    found.count("entries", len(ours))
    for seq in range(first, last + 1):
        if seq not in ours or seq not in theirs:
            where = "the ledger" if seq not in ours else "the projection"
            found.add("projection.entry", f"{where} has no such entry", shard=shard, seq=seq)
            return False
        for field in differences(ours[seq], theirs[seq]):
            found.add("projection.entry", "differs from the ledger's", shard=shard, seq=seq, field=field)
            return False
    return True


def check_count(asked: Session, shard: int, seq: int, found: Collector) -> None:
    """As many entries as the sequence says: none is missing, and none is there twice."""
    row = asked.execute(COUNTED, (shard, seq)).fetchone()
    if row is None or row[0] != seq:
        found.add("projection.count", f"{row[0] if row else 0} entries where {seq} are due", shard=shard, seq=seq)


def _entry(row: tuple[Any, ...]) -> ComparedEntry:
    *same, occurred_at, recorded_at, day, accounts, currencies, amounts = row
    times = [(moment - EPOCH) // MICROSECOND for moment in (occurred_at, recorded_at)]
    legs = tuple(Leg(*leg) for leg in zip(accounts or (), currencies or (), amounts, strict=False))
    return ComparedEntry._make((*same, *times, (day - EPOCH_DAY).days, legs))
