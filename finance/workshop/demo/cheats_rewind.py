"""The most careful forger: takes the newest entry out of the database and winds everything that counts it back.

What is left is a flawless chain, balanced, with matching sums; only what was signed before remembers more.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from finance.workshop.demo.cheat import by_verification
from finance.workshop.demo.ledger import DemoLedger
from finance.workshop.demo.model import Cheat

NEWEST: Final = """
CREATE TEMP TABLE cut_entry AS
SELECT e.* FROM entries e JOIN shards s USING (shard, seq) WHERE e.source_offset = s.next_offset - 1
 ORDER BY e.shard LIMIT 1"""

COPIES: Final = (
    "CREATE TEMP TABLE cut_lines AS SELECT l.* FROM lines l JOIN cut_entry USING (shard, seq)",
    "CREATE TEMP TABLE cut_shard AS SELECT s.* FROM shards s JOIN cut_entry USING (shard)",
    "CREATE TEMP TABLE cut_balances AS SELECT b.* FROM balances b JOIN cut_entry USING (shard)",
    # What the entry opened would betray it.
    """CREATE TEMP TABLE cut_accounts AS SELECT a.* FROM accounts a JOIN cut_entry c USING (shard)
        WHERE NOT EXISTS (SELECT FROM lines l
                           WHERE l.shard = a.shard AND l.account_no = a.account_no AND l.seq <> c.seq)""",
)
CUTS: Final = (
    "DELETE FROM lines l USING cut_entry c WHERE (l.shard, l.seq) = (c.shard, c.seq)",
    "DELETE FROM entries e USING cut_entry c WHERE (e.shard, e.seq) = (c.shard, c.seq)",
    """UPDATE balances b SET debits = b.debits - l.debits, credits = b.credits - l.credits
         FROM (SELECT shard, account_no, currency, coalesce(sum(amount_minor) FILTER (WHERE side = 1), 0) AS debits,
                      coalesce(sum(amount_minor) FILTER (WHERE side = -1), 0) AS credits
                 FROM cut_lines GROUP BY shard, account_no, currency) l
        WHERE (b.shard, b.account_no, b.currency) = (l.shard, l.account_no, l.currency)""",
    "DELETE FROM balances b USING cut_accounts a WHERE (b.shard, b.account_no) = (a.shard, a.account_no)",
    "DELETE FROM accounts b USING cut_accounts a WHERE (b.shard, b.account_no) = (a.shard, a.account_no)",
    """UPDATE shards s SET seq = s.seq - 1, posted = s.posted - 1, next_offset = s.next_offset - 1,
              relayed_offset = s.relayed_offset - 1, accounts = s.accounts - (SELECT count(*) FROM cut_accounts),
              newest_record_offset = NULL, newest_record_ms = NULL, newest_record_sha256 = NULL,
              head_hash = (SELECT e.entry_hash FROM entries e WHERE e.shard = s.shard AND e.seq = s.seq - 1)
         FROM cut_entry c WHERE s.shard = c.shard""",
)
RESTORE: Final = (
    "DELETE FROM balances b USING cut_shard s WHERE b.shard = s.shard",
    "DELETE FROM shards b USING cut_shard s WHERE b.shard = s.shard",
    "INSERT INTO shards SELECT * FROM cut_shard",
    "INSERT INTO accounts SELECT * FROM cut_accounts",
    "INSERT INTO balances SELECT * FROM cut_balances",
    "INSERT INTO entries SELECT * FROM cut_entry",
    "INSERT INTO lines SELECT * FROM cut_lines",
    "DROP TABLE cut_entry, cut_lines, cut_shard, cut_balances, cut_accounts",
)


def cut_newest_entry(ledger: DemoLedger, connection: psycopg.Connection[tuple[Any, ...]]) -> Cheat:
    """`connection` is a superuser's on which no trigger fires. Raises LookupError when no shard ends with an entry."""
    with connection.transaction():
        for statement in (NEWEST, *COPIES):
            connection.execute(statement)
        row = connection.execute("SELECT shard, seq FROM cut_entry").fetchone()
        if row is None:
            raise LookupError("no shard ends with an entry")
        for statement in CUTS:
            connection.execute(statement)
    shard, seq = row
    try:
        return by_verification(
            f"a superuser takes out entry {seq} of shard {shard}, the newest, and winds sums, counts and head back",
            ledger,
            ("ledger",),
            lambda found: found.shard == shard,
        )
    finally:
        with connection.transaction():
            for statement in RESTORE:
                connection.execute(statement)
