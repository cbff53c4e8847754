"""Reading the ledger: balances and entries, for commands and reports.

Guarantees: one consistent snapshot a call; every result is bounded by a limit the caller names. Read-only; needs the
role finance_api or finance_auditor.
Does not: verify (`ledger_core.verify.oracle` does): what is shown here is what the database says.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from ledger_core import canonical
from ledger_core.books.accounts import AccountType, normal_side
from ledger_core.books.entries import decode_entry
from ledger_core.postgres.session import Session

BALANCES = """
SELECT a.account, b.currency, sum(b.debits)::numeric, sum(b.credits)::numeric
  FROM balances b JOIN accounts a USING (shard, account_no)
 WHERE starts_with(a.account, %(prefix)s) AND starts_with(a.account, %(type)s)
   AND (%(currency)s = '' OR b.currency = %(currency)s)
 GROUP BY a.account, b.currency ORDER BY a.account, b.currency LIMIT %(limit)s"""

TRIAL = """
SELECT split_part(a.account, ':', 1), b.currency, sum(b.debits)::numeric, sum(b.credits)::numeric,
       count(DISTINCT a.account)
  FROM balances b JOIN accounts a USING (shard, account_no)
 GROUP BY 1, 2 ORDER BY 2, 1"""

ENTRY_COLUMNS = """e.shard, e.seq, e.event_id::text, e.source_offset, e.recorded_at, e.entry_hash, e.body,
       (SELECT p.entry_hash FROM entries p WHERE p.shard = e.shard AND p.seq = e.seq - 1)"""


@dataclass(frozen=True, slots=True)
class Balance:
    """Both sides of one account in one currency over all shards, in minor units."""

    account: str  # path of the account, such as asset:psp:stripe
    currency: str  # three capital letters, ISO 4217
    debits: int  # sum in minor units
    credits: int  # sum in minor units

    @property
    def amount_minor(self) -> int:
        """The balance on the account type's normal side: positive is the ordinary state of that type."""
        difference = self.debits - self.credits
        return difference if normal_side(AccountType(self.account.partition(":")[0])) == "debit" else -difference


@dataclass(frozen=True, slots=True)
class TrialLine:
    """All accounts of one type in one currency, in minor units."""

    type: str  # asset, liability, revenue, ...
    currency: str  # three capital letters, ISO 4217
    debits: int  # sum in minor units
    credits: int  # sum in minor units
    accounts: int  # how many accounts are summed


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One entry as stored; `prev_hash` is that of the entry before it, None at genesis (or when it is missing)."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    seq: int  # sequence number in the chain, from 1
    event_id: str  # UUID that the publisher gave; one event id, one posting
    source_offset: int  # settlements offset of the record that asked for it
    recorded_at: dt.datetime  # broker's append time, UTC
    entry_hash: bytes  # SHA-256 of body, 32 bytes
    body: bytes  # canonical JSON
    prev_hash: bytes | None


@dataclass(frozen=True, slots=True)
class RecordedRejection:
    """The recorded verdict on an event id that was not posted."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    source_offset: int  # settlements offset
    reason: str  # code of the verdict
    detail: str  # for people; proved nowhere


def balances(
    connection: Session, *, prefix: str = "", type_: AccountType | None = None, currency: str = "", limit: int
) -> list[Balance]:
    """Accounts in order of their names, added up over shards; at most `limit` rows."""
    wanted = {"prefix": prefix, "type": f"{type_}:" if type_ else "", "currency": currency, "limit": limit}
    return [Balance(row[0], row[1], int(row[2]), int(row[3])) for row in connection.execute(BALANCES, wanted)]


def trial_balance(connection: Session) -> list[TrialLine]:
    """One line per currency and account type."""
    return [TrialLine(row[0], row[1], int(row[2]), int(row[3]), row[4]) for row in connection.execute(TRIAL)]


def entry_by_event_id(connection: Session, event_id: str) -> StoredEntry | None:
    """The entry that this event id posted. `event_id` must be a UUID."""
    return _entry(connection, "e.event_id = %s::uuid", (event_id,))


def entry_by_seq(connection: Session, shard: int, seq: int) -> StoredEntry | None:
    """The entry at that position of the shard's chain."""
    return _entry(connection, "e.shard = %s AND e.seq = %s", (shard, seq))


def entries_of_settlement(
    connection: Session, settlement_id: str, *, since: dt.datetime, until: dt.datetime, limit: int
) -> list[StoredEntry]:
    """Entries of one settlement, recorded in [since, until).

    There is no index by settlement (a random leaf per entry would make posting slower as the ledger grows), so this
    reads the whole window, found by the block-range index on recorded_at: name a narrow one.
    """
    mark = b'"settlement_id":' + canonical.encode({"": settlement_id})[len(b'{"":') : -1]
    rows = connection.execute(
        f"SELECT {ENTRY_COLUMNS} FROM entries e WHERE e.recorded_at >= %s AND e.recorded_at < %s "
        "AND position(%s::bytea IN e.body) > 0 ORDER BY e.recorded_at, e.shard, e.seq LIMIT %s",
        (since, until, mark, limit),
    )
    entries = [StoredEntry(*row) for row in rows]
    # A metadata key may be spelled settlement_id too: only the entry's own field counts.
    return [entry for entry in entries if decode_entry(entry.body).settlement_id == settlement_id]


def rejection_of_event_id(connection: Session, event_id: str) -> RecordedRejection | None:
    """The verdict for ever of an event id that was rejected."""
    row = connection.execute(
        "SELECT shard, source_offset, reason, detail FROM verdicts WHERE first_verdict AND event_id = %s::uuid",
        (event_id,),
    ).fetchone()
    return None if row is None else RecordedRejection(*row)


def proof_of_seq(connection: Session, shard: int, seq: int) -> tuple[int, str | None, str | None] | None:
    """(range number, proof id, archive object) of the closed range that holds the entry; None while it is open."""
    row = connection.execute(
        "SELECT r.range_no, p.proof_id, a.object_key FROM ranges r LEFT JOIN proofs p USING (shard, range_no) "
        "LEFT JOIN archive_objects a USING (shard, range_no) WHERE r.shard = %s AND r.first_seq <= %s "
        "AND r.last_seq >= %s ORDER BY r.range_no LIMIT 1",
        (shard, seq, seq),
    ).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def _entry(connection: Session, condition: str, values: Sequence[object]) -> StoredEntry | None:
    row = connection.execute(f"SELECT {ENTRY_COLUMNS} FROM entries e WHERE {condition}", values).fetchone()
    return None if row is None else StoredEntry(*row)
