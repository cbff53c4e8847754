"""Account numbers and running balances of one shard, for the poster.

An account's number is its place in the order of first use in the shard's chain: gapless, the same at every replay, and
no other shard's business. Numbers are cached; those given in a transaction count only once it is committed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Final

from psycopg import Cursor

from ledger_core.postgres.posting.copy_binary import Balances, unknown_accounts
from ledger_core.posting.plans import Posted

CACHED_BYTES_MAX: Final = 64_000_000  # of a process: 300,000 ordinary accounts
ACCOUNT_BYTES: Final = 180  # of an account beside its characters: text, number, place in the dictionary


def array_literal(items: Iterable[int | str]) -> str:
    """A Postgres array as text, of integers or plain words: the driver's own array adapter quotes item by item, and
    was a tenth of the posting time."""
    return "{" + ",".join(map(str, items)) + "}"


class AccountNumbers:
    """The accounts of one shard, as far as this process has met them."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.by_account: dict[str, int] = {}
        self.bytes = 0  # what it weighs
        self._uncommitted: list[str] = []

    def number(self, cursor: Cursor[Any], posted: Sequence[Posted], opened: int) -> int:
        """Make `by_account` cover every account of the batch, opening new ones; returns how many are open now."""
        if self.bytes > CACHED_BYTES_MAX:
            self.forget()
        by_account = self.by_account
        unknown = unknown_accounts(posted, by_account)
        if not unknown:
            return opened
        if len(by_account) < opened:  # else all that are open are known here: the others are new
            # A join: with `= ANY (...)` a plan made while the table was small goes through all accounts of the shard,
            # and compares each with all that are asked for: a batch of 20,000 new ones took minutes.
            cursor.execute(
                "SELECT a.account, a.account_no FROM unnest(%s::text::text[]) AS w (account) "
                "JOIN accounts a ON a.shard = %s AND a.account = w.account",
                (array_literal(unknown), self.shard),
            )
            by_account.update(cursor.fetchall())
        new = [account for account in unknown if account not in by_account]
        for account in new:
            opened += 1
            by_account[account] = opened
        self.bytes += sum(map(len, unknown)) + ACCOUNT_BYTES * len(unknown)
        self._uncommitted = new
        if new:
            with cursor.copy("COPY accounts (shard, account_no, account) FROM STDIN") as copy:
                # The form of an account leaves nothing to escape.
                copy.write("".join(f"{self.shard}\t{by_account[account]}\t{account}\n" for account in new))
        return opened

    def add_balances(self, cursor: Cursor[Any], balances: Balances, opened_before: int) -> None:
        """Add the batch to the running balances, a row for each account and currency touched.

        Accounts opened in this very transaction (numbers above `opened_before`) have no balance yet: their rows are
        copied, which costs a third of the set-based upsert that serves the others.
        """
        touched = sorted(balances)
        first_new = bisect_left(touched, (opened_before + 1,))
        new = touched[first_new:]
        del touched[first_new:]
        if new:
            rows = [
                f"{self.shard}\t{no}\t{currency}\t{balances[no, currency][0]}\t{balances[no, currency][1]}\n"
                for no, currency in new
            ]
            with cursor.copy("COPY balances (shard, account_no, currency, debits, credits) FROM STDIN") as copy:
                copy.write("".join(rows))
        if not touched:
            return
        cursor.execute(
            "INSERT INTO balances AS b (shard, account_no, currency, debits, credits) "
            "SELECT %s::int4, t.* FROM unnest(%s::text::int4[], %s::text::text[], %s::text::numeric[], "
            "%s::text::numeric[]) AS t ON CONFLICT (shard, account_no, currency) DO UPDATE "
            "SET debits = b.debits + excluded.debits, credits = b.credits + excluded.credits",
            (
                self.shard,
                array_literal(account_no for account_no, _ in touched),
                array_literal(currency for _, currency in touched),
                array_literal(balances[key][0] for key in touched),
                array_literal(balances[key][1] for key in touched),
            ),
        )

    def forget(self) -> None:
        """Let the accounts go: they are asked for again."""
        self.by_account.clear()
        self.bytes = 0

    def committed(self) -> None:
        self._uncommitted = []

    def forget_uncommitted(self) -> None:
        """After a rollback the numbers given in it are free again."""
        for account in self._uncommitted:
            if self.by_account.pop(account, None) is not None:
                self.bytes -= len(account) + ACCOUNT_BYTES
        self._uncommitted = []
