"""The ledger's rows as verification reads them: plain values, and the protocol of whoever fetches them.

A reader promises one consistent snapshot for all its calls, rows in the order named, and nothing about their content.
`ledger_core.postgres.verify.ledger_reader` is the one for Postgres.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from ledger_core.proving.tiles import ReadTile, TreeName


class ShardRow(NamedTuple):
    shard: int  # number of the shard: the partition of the settlements topic, from 0
    topic: str  # Kafka topic, prefix included
    first_offset: int  # settlements offset where the shard began, inclusive
    next_offset: int  # settlements offset to read next: all below are decided
    seq: int  # of the newest entry; 0 at genesis
    head_hash: bytes | None  # of the newest entry, 32 bytes; None at genesis
    accounts: int  # accounts opened so far
    posted: int  # offsets that became entries
    duplicates: int  # offsets that repeated a settled event id
    rejected: int  # offsets that were refused
    rules: int = 1  # version of the posting rules that judges what stands at next_offset


class EntryRow(NamedTuple):
    seq: int  # sequence number in the chain, from 1
    event_id: str  # UUID that the publisher gave; one event id, one posting
    source_offset: int  # settlements offset of the record that asked for it
    recorded_at: dt.datetime  # broker's append time, UTC
    entry_hash: bytes  # SHA-256 of body, 32 bytes
    body: bytes  # canonical JSON


class LineRow(NamedTuple):
    """`side` is 1 for debit, -1 for credit; `amount_minor` in minor units."""

    seq: int  # of its entry
    line_no: int  # from 1, in the order of the body
    account_no: int  # of the shard; from 1
    side: int
    amount_minor: int
    currency: str  # three capital letters, ISO 4217


class BalanceRow(NamedTuple):
    account_no: int  # of the shard; from 1
    currency: str  # three capital letters, ISO 4217
    debits: int  # sum in minor units
    credits: int  # sum in minor units


class VerdictRow(NamedTuple):
    source_offset: int  # settlements offset that posted nothing
    verdict: str  # kind: duplicate or rejected
    reason: str  # code
    event_id: str | None  # as far as it could be read
    content_hash: bytes | None  # SHA-256, 32 bytes, of what was asked
    line: bytes  # canonical JSON of the VerdictLine


class RangeRow(NamedTuple):
    """A closed range with its signed proof; None while it waits for its signature."""

    range_no: int  # the shard's ranges count from 1, without a gap
    first_seq: int  # first entry, inclusive
    last_seq: int  # last entry, inclusive; first_seq - 1 when there is no entry
    first_offset: int  # settlements offset, inclusive
    next_offset: int  # settlements offset, exclusive
    payload: bytes  # canonical JSON that the key signs
    hash: bytes  # SHA-256 of the payload, 32 bytes
    checkpoint_text: bytes  # text of the signed note, LF at the end
    tree: bytes  # compact range at last_seq: 32 bytes a hash
    verdict_tree: bytes  # compact range of the verdict lines below next_offset
    head_hash: bytes | None  # entry hash at last_seq, 32 bytes; None at genesis
    proof: bytes | None  # bytes of the signed proof; None while it waits for its signature


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

    def entries(self, shard: int, first_seq: int, last_seq: int, bytes_max: int | None = None) -> Sequence[EntryRow]:
        """In order of seq. With `bytes_max`: up to the one with which their bodies weigh so much."""
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
        """(next_offset, note) in order of next_offset."""
        ...

    def live_notes(self) -> Iterator[tuple[int, bytes]]:
        """(shard, note) of the newest live checkpoint of each shard."""
        ...

    def leaves_kept(self, shard: int, tree: TreeName) -> int:
        """How many leaves of a tree are kept in tiles."""
        ...

    def tiles_kept(self, shard: int, tree: TreeName) -> int:
        """How many full tiles of a tree are kept."""
        ...

    def tiles(self, shard: int, tree: TreeName) -> ReadTile:
        """Reads the tiles of a tree; ValueError where one has fewer hashes than it is asked for."""
        ...

    def operator_proofs(self) -> Iterator[bytes]:
        """Proofs asked for by operators, over any shards."""
        ...
