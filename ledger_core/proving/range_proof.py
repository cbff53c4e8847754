"""The range proof: a signed statement about a range of entries of one or several shards (docs/FORMATS.md). Pure.

(It proves by signature and hash chain; it is not the zero-knowledge kind.)

Guarantees: a proof that contradicts itself cannot be constructed, also not by parsing one: counts add up to the offsets
covered (G3), debits equal credits (G1), hashes of empty things are those of empty things, the row ids are those of the
shards. `hash` is recomputed when a proof is parsed.
Does not: read entries, verify signatures, or check that `root` and `head_hash` are those of any chain:
`ledger_core.verify.oracle` does.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

import msgspec

from ledger_core.proof_ids import range_no_of
from ledger_core.signing.counting import ShardPlace
from ledger_core.signing.purposes import Purpose
from ledger_core.signing.signatures import decode_signature
from ledger_core.signing.statements import (
    EMPTY_SHA256,
    Cosignature,
    Decimal,
    Hash,
    Name,
    Payload,
    ShardNo,
    StatementPart,
    Timestamp,
    TraceId,
    assemble,
    check_signed,
    decode_statement,
)
from ledger_core.times import parse_time

PROOF_VERSION: Final = 1
SERVICE: Final = "finance"


class SourceRange(StatementPart, frozen=True, kw_only=True):
    """The settlement offsets `[first_offset, next_offset)` and what became of each of them. Raises ValueError when the
    counts, the offsets and the hash contradict each other.
    """

    topic: Name  # Kafka topic of the settlements, prefix included
    partition: ShardNo  # partition of that topic; equal to the shard
    first_offset: Decimal  # first settlements offset, inclusive
    next_offset: Decimal  # one after the last settlements offset: exclusive
    posted: Decimal  # offsets that became an entry
    duplicates: Decimal  # offsets whose event had been posted before
    rejected: Decimal  # offsets that were dead-lettered
    # SHA-256 of the verdict lines, each ended by LF, in order of offset; of nothing when all were posted
    verdicts_hash: Hash

    def __post_init__(self) -> None:
        covered = int(self.next_offset) - int(self.first_offset)
        if covered <= 0:
            raise ValueError("a range covers at least one offset")
        if int(self.posted) + int(self.duplicates) + int(self.rejected) != covered:
            raise ValueError("posted + duplicates + rejected differ from the offsets covered")
        if (int(self.duplicates) + int(self.rejected) == 0) != (self.verdicts_hash == EMPTY_SHA256):
            raise ValueError("verdicts_hash contradicts the counts")


class ShardRange(StatementPart, frozen=True, kw_only=True):
    """Entries `first_seq..last_seq` (inclusive; none when last_seq = first_seq - 1) and the chain around them. Raises
    ValueError when sequences, counts and hashes contradict each other.
    """

    shard: ShardNo  # number of the shard, from 0
    first_seq: Decimal  # first entry, inclusive, from 1
    last_seq: Decimal  # last entry, inclusive; first_seq - 1 when there is none
    prev_hash: Hash | None  # entry hash before first_seq; None at genesis
    head_hash: Hash | None  # entry hash at last_seq; None while the shard has no entry
    tree_size: Decimal  # entries in the tree: equal to last_seq
    root: Hash  # root of the shard's tree at tree_size (RFC 6962)
    source: SourceRange  # the settlements that these entries came from

    def __post_init__(self) -> None:
        first, last = int(self.first_seq), int(self.last_seq)
        if first < 1 or last < first - 1:
            raise ValueError("first_seq is at least 1 and last_seq at least first_seq - 1")
        if int(self.source.posted) != last - first + 1:
            raise ValueError("posted differs from the count of sequences")
        if self.tree_size != self.last_seq:
            raise ValueError("the root is the tree's at size last_seq")
        if self.source.partition != self.shard:
            raise ValueError("a shard is one partition: the numbers are equal")
        if (self.prev_hash is None) != (first == 1) or (self.head_hash is None) != (last == 0):
            raise ValueError("a chain hash is null exactly at genesis")
        if last < first and self.head_hash != self.prev_hash:
            raise ValueError("no entries, and yet another head")
        if (last == 0) != (self.root == EMPTY_SHA256):
            raise ValueError("root contradicts tree_size")


class RowIds(StatementPart, frozen=True, kw_only=True):
    """The ledger rows (shard, seq) covered: sequences inclusive at both ends."""

    shard: ShardNo  # number of the shard, from 0
    first_seq: Decimal  # first sequence, inclusive
    last_seq: Decimal  # last sequence, inclusive


class Totals(StatementPart, frozen=True, kw_only=True):
    """Sums of one currency in minor units. Raises ValueError when debits differ from credits."""

    debits: Decimal  # sum of the debit lines, minor units
    credits: Decimal  # sum of the credit lines, minor units; equal to debits

    def __post_init__(self) -> None:
        if self.debits != self.credits:
            raise ValueError("total debits differ from total credits")


class TimeRange(StatementPart, frozen=True, kw_only=True):
    """The least and the greatest recorded_at of the entries covered; null when there are none."""

    from_ts: Timestamp | None  # least recorded_at, inclusive
    to_ts: Timestamp | None  # greatest recorded_at, inclusive


class ProofPayload(Payload, frozen=True, kw_only=True):
    """Everything that `hash` covers. Raises ValueError when its parts contradict each other."""

    proof_id: Name  # unique; of a closed range `<env>-<shard>-<range_no>`
    version: Literal[1]  # of this format
    service: Literal["finance"]  # always ours
    env: Name  # environment, such as prod
    range: TimeRange  # from when to when the entries were recorded
    ledger_row_ids: tuple[RowIds, ...]  # the rows covered, of the shards that have any
    num_rows: Decimal  # entries covered, in all shards
    shards: Annotated[tuple[ShardRange, ...], msgspec.Meta(min_length=1)]  # in order of number, each once
    # By currency (ISO 4217); empty when there are no rows
    totals: dict[Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")], Totals]
    prev_proof_hash: Hash | None  # hash of the shard's proof before it; None at its first, and of an operator's proof
    trace_id: TraceId  # of the work that made it
    ts: Timestamp  # when it was closed, UTC; set by the prover, before it is signed

    chained_by: ClassVar[str | None] = "prev_proof_hash"

    def __post_init__(self) -> None:
        parse_time(self.ts)
        for moment in (self.range.from_ts, self.range.to_ts):
            if moment is not None:
                parse_time(moment)
        numbers = [part.shard for part in self.shards]
        if numbers != sorted(set(numbers)):
            raise ValueError("shards stand in order, each once")
        if self.ledger_row_ids != row_ids(self.shards):
            raise ValueError("ledger_row_ids differ from the sequences of the shards")
        if int(self.num_rows) != sum(int(part.source.posted) for part in self.shards):
            raise ValueError("num_rows differs from what the shards posted")
        empty = self.num_rows == "0"
        if (self.range.from_ts is None) != empty or (self.range.to_ts is None) != empty or (not self.totals) != empty:
            raise ValueError("range and totals are empty exactly when there are no rows")
        if self.range.from_ts is not None and self.range.to_ts is not None and self.range.from_ts > self.range.to_ts:
            raise ValueError("from_ts is after to_ts")

    @property
    def places(self) -> tuple[ShardPlace, ...]:
        """The end of each shard's range. An operator's proof, which is of no chain, may speak of any history by a key
        of today."""
        chained = self.is_of_a_range
        return tuple(ShardPlace(part.shard, int(part.last_seq), part.head_hash, chained) for part in self.shards)

    @property
    def purpose(self) -> Purpose:
        """The prover's, of a closed range, or one that an operator asked for."""
        return "proof" if self.is_of_a_range else "demand"

    @property
    def is_of_a_range(self) -> bool:
        """Whether its id is that of a closed range."""
        return len(self.shards) == 1 and range_no_of(self.proof_id, self.env, self.shards[0].shard) is not None


class RangeProof(ProofPayload, frozen=True, kw_only=True):
    """A payload with its hash and the signature over it. Whether the signature counts is not decided here.

    `cosignatures` stands outside of what `hash` covers: with and without it the proof is the same statement, and who
    reads only `hash` and `signature` need not know of it. Raises ValueError when the cosignatures are not in order of
    kid, each once, by other keys.
    """

    hash: Hash  # of payload and prev_proof_hash; recomputed when parsed
    signature: str  # base64, by signer_kid over the 32 bytes of hash
    # In order of kid; absent where nobody cosigned
    cosignatures: tuple[Cosignature, ...] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        ProofPayload.__post_init__(self)
        check_signed(self)
        if self.cosignatures is not msgspec.UNSET:
            kids = [cosignature.signer_kid for cosignature in self.cosignatures]
            if not kids or kids != sorted({*kids} - {self.signer_kid}):
                raise ValueError(
                    "cosignatures stand in order of kid, each once, none of the signer itself, at least one"
                )
            for cosignature in self.cosignatures:
                decode_signature(cosignature.signature)


_payload_decoder = msgspec.json.Decoder(ProofPayload)
_proof_decoder = msgspec.json.Decoder(RangeProof)


def row_ids(shards: tuple[ShardRange, ...]) -> tuple[RowIds, ...]:
    """The row ids that belong to these shards: those that have entries."""
    return tuple(
        RowIds(shard=part.shard, first_seq=part.first_seq, last_seq=part.last_seq)
        for part in shards
        if part.source.posted != "0"
    )


def parse_payload(data: bytes) -> ProofPayload:
    """Canonical payload -> struct. Raises ValueError on another spelling or a contradiction."""
    return decode_statement(data, _payload_decoder)


def parse_proof(data: bytes) -> RangeProof:
    """Canonical signed proof -> struct. Raises ValueError on another spelling, a contradiction or a wrong hash."""
    return decode_statement(data, _proof_decoder)


def assemble_proof(payload: bytes, signature: bytes, cosignatures: tuple[Cosignature, ...] = ()) -> bytes:
    """The signed proof of a payload, as canonical JSON. The caller has verified every signature over `digest()`."""
    return assemble(parse_payload(payload), RangeProof, signature, cosignatures=cosignatures or msgspec.UNSET)


def same_proof(one: bytes, other: bytes) -> bool:
    """Whether two signed proofs (canonical JSON) are the same statement with the same signature, whoever cosigned it.
    What is not a proof is equal to itself alone."""
    if one == other:
        return True
    try:
        first, second = parse_proof(one), parse_proof(other)
    except ValueError:
        return False
    return (first.hash, first.signature) == (second.hash, second.signature)
