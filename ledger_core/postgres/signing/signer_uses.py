"""What each key signed, by the database: the sequences that its statements reach, and what still waits for it.

Guarantees: one snapshot for all questions; proofs, their cosignatures, operators' proofs, manifests, checkpoints (the
newest live one of each shard too) and audit events are all counted; a closed range without a proof counts for the key
that it names. Needs the grants of finance_api.
Does not: verify a signature (`finance verify` does), or read the archive.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ledger_core.audit.event_types import meaning_fault
from ledger_core.ports import AuditIntent
from ledger_core.postgres.audit.outbox import append_intent
from ledger_core.postgres.audit.set_asides import places_set_aside
from ledger_core.postgres.holders import held, session_words
from ledger_core.postgres.jobs import holder, take
from ledger_core.postgres.session import Session, database_clock, session
from ledger_core.signing.rotation import EVENT_TYPES, SignerEvent

STATEMENT_TIMEOUT_MS: Final = 1_800_000
PAGE_ROWS: Final = 2_000

_JSON: Final = "convert_from({}, 'UTF8')::jsonb"
_PAYLOAD, _PROOF, _MANIFEST = (_JSON.format(column) for column in ("r.payload", "p.proof", "m.manifest"))

# kid, shard (None: the audit chain), lowest and highest seq, number of statements
_USES: Final = f"""
SELECT * FROM (
SELECT 'range without proof', {_PAYLOAD}->>'signer_kid', r.shard, min(r.last_seq), max(r.last_seq), count(*)
  FROM ranges r LEFT JOIN proofs p USING (shard, range_no) WHERE p.proof IS NULL GROUP BY 2, 3
UNION ALL
SELECT 'proof', {_PROOF}->>'signer_kid', r.shard, min(r.last_seq), max(r.last_seq), count(*)
  FROM ranges r JOIN proofs p USING (shard, range_no) GROUP BY 2, 3
UNION ALL
SELECT 'operator proof', {_PROOF}->>'signer_kid', (part->>'shard')::int, min((part->>'last_seq')::bigint),
       max((part->>'last_seq')::bigint), count(*)
  FROM proofs p, jsonb_array_elements({_PROOF}->'shards') AS part WHERE p.shard IS NULL GROUP BY 2, 3
UNION ALL
SELECT 'cosignature', co->>'signer_kid', (part->>'shard')::int, min((part->>'last_seq')::bigint),
       max((part->>'last_seq')::bigint), count(*)
  FROM proofs p, jsonb_array_elements({_PROOF}->'cosignatures') AS co, jsonb_array_elements({_PROOF}->'shards') AS part
 GROUP BY 2, 3
UNION ALL
SELECT 'manifest', {_MANIFEST}->>'signer_kid', m.shard, min(r.last_seq), max(r.last_seq), count(*)
  FROM manifests m JOIN ranges r ON (r.shard, r.range_no) = (m.shard, m.manifest_no) GROUP BY 2, 3
UNION ALL
SELECT 'checkpoint', line[1], c.shard, min(c.tree_size), max(c.tree_size), count(*)
  FROM checkpoints c, regexp_matches(convert_from(c.note, 'UTF8'), '^— ([^ ]+) ', 'gn') AS line GROUP BY 2, 3
UNION ALL
SELECT 'live checkpoint', line[1], c.shard, c.tree_size, c.tree_size, count(*)
  FROM live_checkpoints c, regexp_matches(convert_from(c.note, 'UTF8'), '^— ([^ ]+) ', 'gn') AS line GROUP BY 2, 3, 4
UNION ALL
SELECT 'audit event', signer_kid, NULL, min(seq), max(seq), count(*) FROM audit_events GROUP BY 2
) AS used (what, kid, shard, first_seq, last_seq, statements)"""
USES: Final = f"{_USES} ORDER BY kid, shard NULLS FIRST, what"
USES_OF: Final = f"{_USES} WHERE kid = %s ORDER BY shard NULLS FIRST, what"

# The newest of each kind in each shard: which key signs now. A few rows of each shard, however long the ledger is.
NEWEST: Final = f"""
(SELECT 'audit event', NULL, signer_kid FROM audit_events ORDER BY seq DESC LIMIT 1)
UNION ALL
SELECT 'proof', p.shard, {_PROOF}->>'signer_kid' FROM shards s,
       LATERAL (SELECT * FROM proofs WHERE shard = s.shard ORDER BY range_no DESC LIMIT 1) AS p
UNION ALL
SELECT 'cosignature', p.shard, co->>'signer_kid' FROM shards s,
       LATERAL (SELECT * FROM proofs WHERE shard = s.shard ORDER BY range_no DESC LIMIT 1) AS p,
       jsonb_array_elements({_PROOF}->'cosignatures') AS co
UNION ALL
SELECT 'manifest', m.shard, {_MANIFEST}->>'signer_kid' FROM shards s,
       LATERAL (SELECT * FROM manifests WHERE shard = s.shard ORDER BY manifest_no DESC LIMIT 1) AS m
ORDER BY 2 NULLS FIRST, 1"""

# Ranges are signed in order, so those without a proof are the last ones.
UNSIGNED: Final = f"""
SELECT {_PAYLOAD}->>'signer_kid', count(*) FROM shards s,
       LATERAL (SELECT coalesce(max(range_no), 0) AS range_no FROM proofs WHERE shard = s.shard) AS proved,
       LATERAL (SELECT payload FROM ranges WHERE shard = s.shard AND range_no > proved.range_no OFFSET 0) AS r
 GROUP BY 1 ORDER BY 1"""

WAITING: Final = """
SELECT event_type, actor_id, payload, created_at FROM audit_outbox WHERE event_type = ANY(%s) ORDER BY outbox_id"""
CHAINED: Final = """
SELECT event_type, actor_id, payload, created_at, seq, signer_kid, hash FROM audit_events
 WHERE event_type = ANY(%s) ORDER BY seq"""

RANGE_END: Final = """
SELECT last_seq, encode(head_hash, 'hex') FROM ranges
 WHERE shard = %s AND last_seq <= %s ORDER BY range_no DESC LIMIT 1"""

SIGNED_RANGES: Final = f"""
SELECT r.shard, r.first_seq, r.last_seq FROM ranges r JOIN proofs p USING (shard, range_no)
 WHERE {_PROOF}->>'signer_kid' = %s AND r.last_seq >= r.first_seq ORDER BY r.shard, r.range_no"""

PROOF_SIGNERS: Final = f"SELECT DISTINCT {_PROOF}->>'signer_kid' FROM proofs p WHERE p.shard IS NOT NULL"

OPERATOR_PROOFS: Final = f"""
SELECT (part->>'shard')::int, (part->>'first_seq')::bigint, (part->>'last_seq')::bigint
  FROM proofs p, jsonb_array_elements({_PROOF}->'shards') AS part
 WHERE p.shard IS NULL AND {_PROOF}->>'signer_kid' <> ALL(%s)"""


@dataclass(frozen=True, slots=True)
class SignerUse:
    """`statements` of one kind by one key in one shard (None: the audit chain), reaching sequences first..last."""

    what: str  # kind of statement: proof, manifest, audit event, ...
    kid: str  # name of the key in the registry
    shard: int | None  # None: the audit chain
    first_seq: int  # least sequence reached, inclusive
    last_seq: int  # greatest sequence reached, inclusive
    statements: int


@dataclass(frozen=True, slots=True)
class Newest:
    """Whose the newest statement of one kind is, in one shard (None: of the audit chain)."""

    what: str  # kind of statement: proof, manifest, audit event, ...
    shard: int | None  # None: the audit chain
    kid: str  # name of the key in the registry

    def __str__(self) -> str:
        return self.what if self.shard is None else f"{self.what} of shard {self.shard}"


def proof_signers(connection: Session) -> set[str]:
    """The keys that signed the ranges of a ledger. Needs to read `proofs` alone."""
    return {str(kid) for (kid,) in connection.execute(PROOF_SIGNERS)}


class SignerUses:
    """Make it with `open_signer_uses`. Every method may raise Unavailable and Refused, as its session does."""

    def __init__(self, connection: Session) -> None:
        self._connection = connection

    def uses(self, kid: str | None = None) -> list[SignerUse]:
        """Of every key that signed anything, or that a range waits for; or of one. Reads the whole record."""
        rows = self._connection.execute(USES) if kid is None else self._connection.execute(USES_OF, [kid])
        return [SignerUse(*row) for row in rows]

    def newest(self) -> list[Newest]:
        """Who signed the newest audit event, and of each shard the newest proof (and cosigned it) and manifest."""
        return [Newest(*row) for row in self._connection.execute(NEWEST)]

    def waiting(self) -> dict[str, int]:
        """Kid -> how many closed ranges wait for its signature."""
        return {str(kid): int(count) for kid, count in self._connection.execute(UNSIGNED)}

    def events(self) -> list[SignerEvent]:
        """What the audit chain and its outbox say about signers, in order: what means something, and was not set
        aside."""
        names = [list(EVENT_TYPES)]
        waiting = [SignerEvent(*row) for row in self._connection.execute(WAITING, names)]
        aside = places_set_aside(self._connection)
        chained = [
            SignerEvent(*row[:6])
            for row in self._connection.execute(CHAINED, names)
            if (int(row[4]), str(row[6])) not in aside
        ]
        told = [*chained, *waiting]
        return [it for it in told if meaning_fault(it.event_type, it.actor_id, it.payload) is None]

    def chain_time(self) -> dt.datetime | None:
        """The time of the newest audit event, UTC; None on an empty chain. After a burst it lies ahead of the clock."""
        row = self._connection.execute("SELECT created_at FROM audit_events ORDER BY seq DESC LIMIT 1").fetchone()
        return None if row is None else row[0]

    def signed_ranges(self, kid: str) -> Iterator[tuple[int, int, int]]:
        """(shard, first_seq, last_seq) of the ranges whose proof that key signed, without empty ones, in order: a page
        at a time, since a key may have signed millions."""
        with self._connection.cursor(name="signed_ranges") as cursor:
            cursor.itersize = PAGE_ROWS
            cursor.execute(SIGNED_RANGES, [kid])
            yield from cursor

    def operator_proofs(self, other_than: Sequence[str]) -> set[tuple[int, int, int]]:
        """(shard, first_seq, last_seq) that operators' proofs of other keys speak of."""
        return {(row[0], row[1], row[2]) for row in self._connection.execute(OPERATOR_PROOFS, [list(other_than)])}

    def range_end(self, shard: int, seq: int) -> tuple[int, str | None] | None:
        """(last_seq, head_hash) of the newest closed range that ends at or before `seq`."""
        row = self._connection.execute(RANGE_END, [shard, seq]).fetchone()
        return None if row is None else (int(row[0]), row[1])

    def event_hash(self, seq: int) -> str | None:
        """The hash of an event of the audit chain."""
        row = self._connection.execute("SELECT hash FROM audit_events WHERE seq = %s", [seq]).fetchone()
        return None if row is None else str(row[0])

    def clock(self) -> dt.datetime:
        """The database's time."""
        return database_clock(self._connection)


@contextmanager
def open_signer_uses(dsn: str) -> Iterator[SignerUses]:
    """One read-only snapshot. What a key signed is read from the whole record, which may be millions of ranges."""
    with (
        session(
            dsn, application_name="finance signers", read_only=True, statement_timeout_ms=STATEMENT_TIMEOUT_MS
        ) as connection,
        connection.transaction(),
    ):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield SignerUses(connection)


@contextmanager
def only_changer(dsn: str) -> Iterator[None]:
    """Hold the one lock for changes of signers; gone with the session, however it ends. Raises Refused when it is
    held, and Unavailable."""
    with session(dsn, application_name="finance signers") as connection:
        if not take(connection, "signers"):
            pid = holder(connection, "signers")
            who = "" if pid is None else session_words(connection, pid)
            raise held("another command is changing signers at this moment", who)
        yield


def tell(dsn: str, intent: AuditIntent) -> None:
    """Leave one intent for the notary. Raises Unavailable and Refused."""
    with session(dsn, application_name="finance signers") as connection, connection.cursor() as cursor:
        append_intent(cursor, intent)  # autocommit: one statement
