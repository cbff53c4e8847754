"""The ledger in Postgres as verification reads it: one snapshot, streamed, nothing judged.

Guarantees: every call of one reader sees the same moment (a read-only REPEATABLE READ transaction), so a ledger that
is being posted to can be checked while it grows; memory stays that of one block or page. Needs the grants of
finance_auditor. It trusts no column to agree with another: what it fetches is what `ledger_core.verify.ledger`
compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql

from ledger_core.audit.events import AuditEvent
from ledger_core.postgres.audit.notary_store import event_from_row
from ledger_core.postgres.posting.account_numbers import array_literal
from ledger_core.postgres.posting.plan_writer import INLINE_BYTES_MAX, bodies_of
from ledger_core.postgres.posting.rules_in_force import activated, activations
from ledger_core.postgres.posting.shard_halts import set_aside_end
from ledger_core.postgres.proving.tile_store import PostgresTileStore
from ledger_core.postgres.session import check_own_session, translated
from ledger_core.postgres.verify.not_held import count_not_held
from ledger_core.posting.plans import Known
from ledger_core.proving.tiles import ReadTile, TreeName
from ledger_core.verify.ledger_rows import BalanceRow, EntryRow, LineRow, RangeRow, ShardRow, VerdictRow

PAGE_ROWS: Final = 2_000

SHARDS: Final = """
SELECT shard, topic, first_offset, next_offset, seq, head_hash, accounts, posted, duplicates, rejected, rules
  FROM shards ORDER BY shard"""

TOTALS: Final = """
SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM lines), (SELECT count(*) FROM accounts),
       (SELECT count(*) FROM balances), (SELECT count(*) FROM verdicts)"""

ENTRIES: Final = """
SELECT seq, event_id::text, source_offset, recorded_at, entry_hash, body
  FROM entries WHERE shard = %s AND seq BETWEEN %s AND %s ORDER BY seq"""

ENTRIES_WITHIN: Final = """
SELECT seq, event_id, source_offset, recorded_at, entry_hash, body FROM (
    SELECT seq, event_id::text, source_offset, recorded_at, entry_hash, body,
           sum(octet_length(body)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - octet_length(body) AS before
      FROM entries WHERE shard = %s AND seq BETWEEN %s AND %s) sized
 WHERE before < %s ORDER BY seq"""

LINES: Final = """
SELECT seq, line_no, account_no, side, amount_minor, currency::text
  FROM lines WHERE shard = %s AND seq BETWEEN %s AND %s ORDER BY seq, line_no"""

VERDICTS: Final = """
SELECT source_offset, verdict, reason, event_id::text, content_hash, line
  FROM verdicts WHERE shard = %s AND source_offset >= %s AND source_offset < %s ORDER BY source_offset"""

ACCOUNTS: Final = "SELECT account_no, account FROM accounts WHERE shard = %s ORDER BY account_no"

BALANCES: Final = "SELECT account_no, currency::text, debits::text, credits::text FROM balances WHERE shard = %s"

RANGES: Final = """
SELECT r.range_no, r.first_seq, r.last_seq, r.first_offset, r.next_offset, r.payload, r.hash, r.checkpoint_text,
       r.tree, r.verdict_tree, r.head_hash, p.proof
  FROM ranges r LEFT JOIN proofs p USING (shard, range_no) WHERE r.shard = %s ORDER BY r.range_no"""

CHECKPOINTS: Final = "SELECT next_offset, note FROM checkpoints WHERE shard = %s ORDER BY next_offset"

TILES_KEPT: Final = "SELECT count(*) FROM tiles WHERE shard = %s AND tree = %s"
LIVE_NOTES: Final = "SELECT shard, note FROM live_checkpoints ORDER BY shard"

OPERATOR_PROOFS: Final = "SELECT proof FROM proofs WHERE shard IS NULL ORDER BY proof_id"

AUDIT_EVENTS: Final = """
SELECT id, seq, actor_id, event_type, payload, prev_hash, hash, signature, signer_kid, created_at
  FROM audit_events ORDER BY seq"""

FIRST_POSTED: Final = f"""
SELECT event_id::text, shard, seq, CASE WHEN octet_length(body) <= {INLINE_BYTES_MAX} THEN body END, octet_length(body)
  FROM entries WHERE event_id = ANY(%s::text::uuid[])"""

FIRST_REJECTED: Final = """
SELECT event_id::text, shard, source_offset, content_hash, reason FROM verdicts
 WHERE first_verdict AND event_id = ANY(%s::text::uuid[])"""

SUMS: Final = """
SELECT b.currency::text || ' ' || split_part(a.account, ':', 1), sum(b.debits)::text, sum(b.credits)::text
  FROM balances b JOIN accounts a USING (shard, account_no) WHERE b.shard = %s GROUP BY 1"""

PUBLISHED_SEQ: Final = "SELECT published_seq FROM notary_cursor"


class PostgresLedgerReader:
    """`ledger_core.verify.ledger_rows.LedgerReader`, and the audit chain. Make it with `open_ledger_reader`.

    Every method may raise Unavailable("postgres") and Refused (missing grants, a schema that is not migrated).
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def shards(self) -> Sequence[ShardRow]:
        return [ShardRow(*row) for row in self._all(SHARDS)]

    def totals(self) -> dict[str, int]:
        (row,) = self._all(TOTALS)
        return dict(zip(("entries", "lines", "accounts", "balances", "verdicts"), row, strict=True))

    def not_held(self) -> dict[str, int]:
        return count_not_held(lambda statement: self._all(statement)[0])

    def entries(self, shard: int, first_seq: int, last_seq: int, bytes_max: int | None = None) -> Sequence[EntryRow]:
        within = () if bytes_max is None else (bytes_max,)
        query = ENTRIES if bytes_max is None else ENTRIES_WITHIN
        return [EntryRow(*row) for row in self._all(query, shard, first_seq, last_seq, *within)]

    def lines(self, shard: int, first_seq: int, last_seq: int) -> Sequence[LineRow]:
        return [LineRow(*row) for row in self._all(LINES, shard, first_seq, last_seq)]

    def verdicts(self, shard: int, first_offset: int, next_offset: int) -> Sequence[VerdictRow]:
        return [VerdictRow(*row) for row in self._all(VERDICTS, shard, first_offset, next_offset)]

    def accounts(self, shard: int) -> Iterator[tuple[int, str]]:
        yield from self._stream("accounts", ACCOUNTS, shard)

    def balances(self, shard: int) -> Iterator[BalanceRow]:
        for number, currency, debits, credits_ in self._stream("balances", BALANCES, shard):
            yield BalanceRow(number, currency, int(debits), int(credits_))  # numeric(38, 0) as text is exact

    def ranges(self, shard: int) -> Iterator[RangeRow]:
        for row in self._stream("ranges", RANGES, shard):
            yield RangeRow(*row)

    def checkpoints(self, shard: int) -> Iterator[tuple[int, bytes]]:
        yield from self._stream("checkpoints", CHECKPOINTS, shard)

    def live_notes(self) -> Iterator[tuple[int, bytes]]:
        yield from self._stream("live_checkpoints", LIVE_NOTES)

    def leaves_kept(self, shard: int, tree: TreeName) -> int:
        return PostgresTileStore(self._connection).kept(shard, tree)

    def tiles_kept(self, shard: int, tree: TreeName) -> int:
        return int(self._all(TILES_KEPT, shard, tree)[0][0])

    def tiles(self, shard: int, tree: TreeName) -> ReadTile:
        return PostgresTileStore(self._connection).reader(shard, tree)

    def operator_proofs(self) -> Iterator[bytes]:
        for (proof,) in self._stream("operator_proofs", OPERATOR_PROOFS):
            yield proof

    def set_aside_end(self, shard: int, offset: int) -> int:
        """The offset behind those that were set aside from `offset` on; `offset` itself where it was not."""
        return set_aside_end(self._connection, shard, offset)

    @translated()
    def activated(self, shard: int, offset: int) -> bool | None:
        """As `ledger_core.recovery.replay_port.VerdictLog.activated`."""
        return activated(self._connection, shard, offset)

    @translated()
    def activations(self, shard: int) -> list[tuple[int, int]]:
        """(offset of a control record, posting rules in force behind it), in order."""
        return activations(self._connection, shard)

    def first_verdicts(self, compared: Sequence[str], named: Sequence[str]) -> dict[str, tuple[Known, int]]:
        """Event id -> its first verdict, and where: the seq of what was posted, the offset of what was rejected. Of the
        `compared` ones that are posted with the body. Raises HeavyLookUp."""
        if not compared and not named:
            return {}
        ids = array_literal((*compared, *named))
        posted = self._all(FIRST_POSTED, ids)
        found = {row[0]: (Known(row[1], row[2], row[3]), row[2]) for row in posted}
        wanted = set(compared)
        large = {row[0]: row[4] for row in posted if row[3] is None and row[0] in wanted}
        with translated(), self._connection.cursor() as cursor:
            for event_id, body in bodies_of(cursor, large):
                known, seq = found[event_id]
                found[event_id] = Known(known.shard, seq, body), seq
        for event_id, shard, offset, digest, reason in self._all(FIRST_REJECTED, ids):
            found.setdefault(event_id, (Known(shard, 0, None, digest, reason), offset))
        return found

    def sums(self, shard: int) -> dict[str, list[int]]:
        """`<currency> <account type>` -> [debits, credits] of all balances of a shard."""
        return {name: [int(debits), int(credits_)] for name, debits, credits_ in self._all(SUMS, shard)}

    def audit_events(self) -> Iterator[AuditEvent]:
        """The audit chain in order of seq, as it stands in the table."""
        return map(event_from_row, self._stream("audit_events", AUDIT_EVENTS))

    def published_seq(self) -> int:
        """How far the audit chain was published: it cannot be shorter than that."""
        ((seq,),) = self._all(PUBLISHED_SEQ)
        return int(seq)

    @translated()
    def _all(self, query: str, *arguments: int | str) -> list[tuple[Any, ...]]:
        with self._connection.cursor(binary=True) as cursor:
            return cursor.execute(query, arguments).fetchall()

    def _stream(self, name: str, query: str, *arguments: int) -> Iterator[tuple[Any, ...]]:
        """Rows through a server-side cursor, a page at a time."""
        with translated(), self._connection.cursor(name=f"ledger_reader_{name}", binary=True) as cursor:
            cursor.itersize = PAGE_ROWS
            cursor.execute(query, arguments)
            yield from cursor


# A page, or a question about all of the ledger; and the time to check a page. The snapshot itself may be days old.
LIMITS: Final = (
    ("statement_timeout", "4h"),
    ("idle_in_transaction_session_timeout", "1h"),
    ("lock_timeout", "10s"),
)


@contextmanager
def open_ledger_reader(dsn: str) -> Iterator[PostgresLedgerReader]:
    """A reader of one snapshot, taken now. Raises Unavailable and Refused."""
    with translated():
        connection = psycopg.connect(dsn, autocommit=True, connect_timeout=5, application_name="finance-verify")
    with connection:
        with translated():
            check_own_session(connection)
            for name, value in LIMITS:
                connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), value))
            connection.autocommit = False
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute("SET TIME ZONE 'UTC'")
        yield PostgresLedgerReader(connection)
