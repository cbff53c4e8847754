"""The ledger's rows as verification reads them: plain values, and the protocol of whoever fetches them.

A reader promises one consistent snapshot for all its calls, rows in the order named, and nothing about their content.
`ledger_core.postgres.verify.ledger_reader` is the one for Postgres.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class ShardRow(NamedTuple):
    shard: int
    topic: str
    first_offset: int
    next_offset: int
    seq: int
    head_hash: bytes | None
    accounts: int
    posted: int
    duplicates: int
    rejected: int


class EntryRow(NamedTuple):
    seq: int
    event_id: str
    source_offset: int
    recorded_at: dt.datetime
    entry_hash: bytes
    body: bytes


class LineRow(NamedTuple):
    """`side` is 1 for debit, -1 for credit; `amount_minor` in minor units."""

    seq: int
    line_no: int
    account_no: int
    side: int
    amount_minor: int
    currency: str


class BalanceRow(NamedTuple):
    account_no: int
    currency: str
    debits: int
    credits: int


class VerdictRow(NamedTuple):
    source_offset: int
    verdict: str
    reason: str
    event_id: str | None
    content_hash: bytes | None
    line: bytes


class RangeRow(NamedTuple):
    """A closed range with its signed proof; None while it waits for its signature."""

    range_no: int
    first_seq: int
    last_seq: int
    first_offset: int
    next_offset: int
    payload: bytes
    hash: bytes
    checkpoint_text: bytes
    tree: bytes
    head_hash: bytes | None
    proof: bytes | None


class LedgerReader(Protocol):
    """Every method may raise Unavailable. Sequences are inclusive at both ends, offsets are half-open."""

    def shards(self) -> Sequence[ShardRow]:
        """In order of shard."""
        ...

    def totals(self) -> dict[str, int]:
        """Rows in the tables entries, lines, accounts, balances, verdicts: nothing may hide beyond a shard's head."""
        ...

    def not_held(self) -> dict[str, int]:
        """What no archive holds and this ledger lacks, having been rebuilt from one, counted by name."""
        ...

    def entries(self, shard: int, first_seq: int, last_seq: int) -> Sequence[EntryRow]:
        """In order of seq."""
        ...

    def lines(self, shard: int, first_seq: int, last_seq: int) -> Sequence[LineRow]:
        """In order of seq and line_no."""
        ...

    def verdicts(self, shard: int, first_offset: int, next_offset: int) -> Sequence[VerdictRow]:
        """In order of source_offset."""
        ...

    def accounts(self, shard: int) -> Iterator[tuple[int, str]]:
        """(account_no, account) in order of account_no."""
        ...

    def balances(self, shard: int) -> Iterator[BalanceRow]:
        """In any order."""
        ...

    def ranges(self, shard: int) -> Iterator[RangeRow]:
        """In order of range_no."""
        ...

    def checkpoints(self, shard: int) -> Iterator[tuple[int, bytes]]:
        """(tree_size, note) in order of tree_size."""
        ...

    def operator_proofs(self) -> Iterator[bytes]:
        """Proofs asked for by operators, over any shards."""
        ...
