"""A cut of the chain with its verdicts becomes a closed range: the unsigned bytes of its proof and checkpoint. Pure.

Guarantees: a closed range accounts for every offset it covers, with an entry or a verdict line (G3), or it cannot be
closed; everything that is not of the chain (time, ids, signer) comes in as `ClosingTerms`, so that the row written down
is all that signing, again and again, ever needs.
Does not: read verdicts, write or sign anything.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from ledger_core.errors import Corrupt
from ledger_core.ports import Algorithm
from ledger_core.posting.verdicts import decode_verdict, verdicts_hash
from ledger_core.proof_ids import of_range
from ledger_core.proving.checkpoint import record_text
from ledger_core.proving.range_proof import (
    PROOF_VERSION,
    SERVICE,
    ProofPayload,
    ShardRange,
    SourceRange,
    TimeRange,
    Totals,
    row_ids,
)
from ledger_core.times import format_time
from ledger_core.tree import CompactRange, leaf_hashes


@dataclass(frozen=True, slots=True)
class Cut:
    """A finished piece of the chain: entries first_seq..last_seq and the offsets `[first_offset, next_offset)`.

    `tree` is the shard's tree at last_seq; `totals` are debits (= credits) by currency in minor units; `journal_offset`
    is where the journal topic goes on.
    """

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    topic: str  # Kafka topic, prefix included
    first_seq: int  # first entry, inclusive
    last_seq: int  # last entry, inclusive; first_seq - 1 when there is no entry
    prev_hash: bytes | None  # entry hash before first_seq, 32 bytes; None at genesis
    head_hash: bytes | None  # entry hash at last_seq, 32 bytes; None at genesis
    first_offset: int  # settlements offset, inclusive
    next_offset: int  # settlements offset, exclusive
    tree: CompactRange
    totals: dict[str, int]
    from_ts: str | None  # least recorded_at of the entries; None without one
    to_ts: str | None  # greatest recorded_at, inclusive; None without one
    journal_offset: int


@dataclass(frozen=True, slots=True)
class ClosedRange:
    """One row of `ranges`: the unsigned bytes of a range's proof and checkpoint, and where the next range begins."""

    shard: int  # number of the shard: the partition of the settlements topic, from 0
    range_no: int  # the shard's ranges count from 1, without a gap
    first_seq: int  # first entry, inclusive
    last_seq: int  # last entry, inclusive; first_seq - 1 when there is no entry
    first_offset: int  # settlements offset, inclusive
    next_offset: int  # settlements offset, exclusive
    payload: bytes  # canonical JSON that the key signs
    hash: bytes  # SHA-256 of the payload, 32 bytes
    checkpoint_text: bytes  # signed note's text, LF at the end
    tree: bytes  # compact range at last_seq: 32 bytes a hash
    verdict_tree: bytes  # likewise, of the shard's verdict lines below next_offset
    head_hash: bytes | None  # entry hash at last_seq, 32 bytes; None at genesis
    journal_offset: int  # offset of the journal topic after the range, exclusive


@dataclass(frozen=True, slots=True)
class ClosingTerms:
    """What a closed range takes from outside the chain, written down so that every retry signs the same bytes."""

    env: str  # environment, such as prod; part of every proof and object name
    origin: str  # of the shard's checkpoints
    range_no: int  # the shard's ranges count from 1, without a gap
    prev_proof_hash: str | None  # hex; of the range before, None for the first
    signer_kid: str  # name of the signing key in the registry
    alg: Algorithm  # algorithm of that key
    trace_id: str  # 32 lower-case hex digits
    ts: dt.datetime  # when the range was closed, UTC; the prover's clock, read once


def close_range(
    cut: Cut, verdict_lines: Sequence[bytes], terms: ClosingTerms, verdicts_before: CompactRange
) -> ClosedRange:
    """A cut with its verdict lines (in order of offset) -> the range to write down. `verdicts_before` is the tree of
    the shard's verdict lines before the range.

    Raises Corrupt when the verdicts do not account for exactly the offsets that posted nothing.
    """
    part = _shard_range(cut, verdict_lines)
    verdicts = verdicts_before.extend(leaf_hashes(verdict_lines))
    record_start = cut.next_offset - cut.tree.size - verdicts.size
    payload = ProofPayload(
        proof_id=of_range(terms.env, cut.shard, terms.range_no),
        version=PROOF_VERSION,
        service=SERVICE,
        env=terms.env,
        range=TimeRange(from_ts=cut.from_ts, to_ts=cut.to_ts),
        ledger_row_ids=row_ids((part,)),
        num_rows=part.source.posted,
        shards=(part,),
        totals={currency: Totals(debits=str(sum_), credits=str(sum_)) for currency, sum_ in cut.totals.items()},
        prev_proof_hash=terms.prev_proof_hash,
        trace_id=terms.trace_id,
        signer_kid=terms.signer_kid,
        alg=terms.alg,
        ts=format_time(terms.ts),
    )
    return ClosedRange(
        shard=cut.shard,
        range_no=terms.range_no,
        first_seq=cut.first_seq,
        last_seq=cut.last_seq,
        first_offset=cut.first_offset,
        next_offset=cut.next_offset,
        payload=payload.to_bytes(),
        hash=payload.digest(),
        checkpoint_text=record_text(terms.origin, record_start, cut.tree, verdicts),
        tree=cut.tree.to_bytes(),
        verdict_tree=verdicts.to_bytes(),
        head_hash=cut.head_hash,
        journal_offset=cut.journal_offset,
    )


def silent_offsets(part: Cut | ClosedRange) -> int:
    """How many of its offsets posted nothing: each has a verdict line."""
    return part.next_offset - part.first_offset - (part.last_seq - part.first_seq + 1)


def verdict_tree_of(closed: ClosedRange, record_start: int) -> CompactRange:
    """The tree of the shard's verdict lines below the end of a closed range; its record begins at `record_start`.
    Raises ValueError when the stored hashes do not fit."""
    return CompactRange.from_bytes(closed.next_offset - record_start - closed.last_seq, closed.verdict_tree)


def _shard_range(cut: Cut, verdict_lines: Sequence[bytes]) -> ShardRange:
    posted = cut.last_seq - cut.first_seq + 1
    kinds = {"duplicate": 0, "rejected": 0}
    newest = cut.first_offset - 1
    for line in verdict_lines:
        verdict = decode_verdict(line)
        offset = int(verdict.offset)
        if not newest < offset < cut.next_offset:
            raise Corrupt(f"shard {cut.shard}: verdict of offset {offset} stands after that of {newest}")
        newest = offset
        kinds[verdict.verdict] += 1
    missing = cut.next_offset - cut.first_offset - posted - len(verdict_lines)
    if missing:
        raise Corrupt(
            f"shard {cut.shard}, offsets {cut.first_offset}..{cut.next_offset - 1}: {posted} entries and "
            f"{len(verdict_lines)} verdicts leave {missing} offsets unaccounted for"
        )
    return ShardRange(
        shard=cut.shard,
        first_seq=str(cut.first_seq),
        last_seq=str(cut.last_seq),
        prev_hash=None if cut.prev_hash is None else cut.prev_hash.hex(),
        head_hash=None if cut.head_hash is None else cut.head_hash.hex(),
        tree_size=str(cut.tree.size),
        root=cut.tree.root().hex(),
        source=SourceRange(
            topic=cut.topic,
            partition=cut.shard,
            first_offset=str(cut.first_offset),
            next_offset=str(cut.next_offset),
            posted=str(posted),
            duplicates=str(kinds["duplicate"]),
            rejected=str(kinds["rejected"]),
            verdicts_hash=verdicts_hash(verdict_lines).hex(),
        ),
    )
