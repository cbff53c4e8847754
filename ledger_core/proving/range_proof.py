"""The range proof: a signed statement about a range of entries of one or several shards (DESIGN, section 6). Pure.

(It proves by signature and hash chain; it is not the zero-knowledge kind.)

Guarantees: a proof that contradicts itself cannot be constructed, also not by parsing one: counts add up to the offsets
covered (G3), debits equal credits (G1), hashes of empty things are those of empty things, the row ids are those of the
shards. `hash` is recomputed when a proof is parsed.
Does not: look at entries, verify signatures, or check that `root` and `head_hash` are those of any chain:
`ledger_core.verify.oracle` does.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from ledger_core.ports import Algorithm
from ledger_core.signing.signatures import decode_signature, encode_signature
from ledger_core.signing.statements import (
    EMPTY_SHA256,
    Cosignature,
    Decimal,
    Hash,
    Name,
    Part,
    ShardNo,
    Timestamp,
    TraceId,
    decode_statement,
    encode_statement,
    statement_hash,
)
from ledger_core.times import parse_time

PROOF_VERSION: Final = 1
SERVICE: Final = "finance"


class SourceRange(Part, frozen=True, kw_only=True):
    """The settlement offsets `[first_offset, next_offset)` and what became of each of them."""

    topic: Name
    partition: ShardNo
    first_offset: Decimal
    next_offset: Decimal
    posted: Decimal
    duplicates: Decimal
    rejected: Decimal
    verdicts_hash: Hash

    def __post_init__(self) -> None:
        covered = int(self.next_offset) - int(self.first_offset)
        if covered <= 0:
            raise ValueError("a range covers at least one offset")
        if int(self.posted) + int(self.duplicates) + int(self.rejected) != covered:
            raise ValueError("posted + duplicates + rejected differ from the offsets covered")
        if (int(self.duplicates) + int(self.rejected) == 0) != (self.verdicts_hash == EMPTY_SHA256):
            raise ValueError("verdicts_hash contradicts the counts")


class ShardRange(Part, frozen=True, kw_only=True):
    """Entries `first_seq..last_seq` (inclusive; none when last_seq = first_seq - 1) and the chain around them."""

    shard: ShardNo
    first_seq: Decimal
    last_seq: Decimal
    prev_hash: Hash | None
    head_hash: Hash | None
    tree_size: Decimal
    root: Hash
    source: SourceRange

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


class RowIds(Part, frozen=True, kw_only=True):
    """The ledger rows (shard, seq) covered: sequences inclusive at both ends."""

    shard: ShardNo
    first_seq: Decimal
    last_seq: Decimal


class Totals(Part, frozen=True, kw_only=True):
    """Sums of one currency in minor units."""

    debits: Decimal
    credits: Decimal

    def __post_init__(self) -> None:
        if self.debits != self.credits:
            raise ValueError("total debits differ from total credits")


class TimeRange(Part, frozen=True, kw_only=True):
    """The least and the greatest recorded_at of the entries covered; null when there are none."""

    from_ts: Timestamp | None
    to_ts: Timestamp | None


class ProofPayload(Part, frozen=True, kw_only=True):
    """Everything that `hash` covers."""

    proof_id: Name
    version: Literal[1]
    service: Literal["finance"]
    env: Name
    range: TimeRange
    ledger_row_ids: tuple[RowIds, ...]
    num_rows: Decimal
    shards: Annotated[tuple[ShardRange, ...], msgspec.Meta(min_length=1)]
    totals: dict[Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z")], Totals]
    prev_proof_hash: Hash | None
    trace_id: TraceId
    signer_kid: Name
    alg: Algorithm
    ts: Timestamp

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

    def to_bytes(self) -> bytes:
        """The canonical payload: the bytes that are hashed and signed."""
        return encode_statement(ProofPayload(**{name: getattr(self, name) for name in ProofPayload.__struct_fields__}))

    def digest(self) -> bytes:
        """SHA256(payload || prev_proof_hash), 32 bytes: what is signed."""
        return statement_hash(self.to_bytes(), self.prev_proof_hash)


class RangeProof(ProofPayload, frozen=True, kw_only=True):
    """A payload with its hash and the signature over it. Whether the signature holds is not decided here.

    `cosignatures` stands outside of what `hash` covers: with and without it the proof is the same statement, and who
    reads only `hash` and `signature` need not know of it.
    """

    hash: Hash
    signature: str
    cosignatures: tuple[Cosignature, ...] | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        ProofPayload.__post_init__(self)
        if self.digest().hex() != self.hash:
            raise ValueError("hash is not that of the payload and prev_proof_hash")
        decode_signature(self.signature)
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
    unsigned = parse_payload(payload)
    fields = {name: getattr(unsigned, name) for name in ProofPayload.__struct_fields__}
    proof = RangeProof(
        **fields,
        hash=unsigned.digest().hex(),
        signature=encode_signature(signature),
        cosignatures=cosignatures or msgspec.UNSET,
    )
    return encode_statement(proof)


def same_proof(one: bytes, other: bytes) -> bool:
    """Whether two signed proofs (canonical JSON) are the same statement with the same signature, whoever cosigned it.
    What is no proof is equal to itself alone."""
    if one == other:
        return True
    try:
        first, second = parse_proof(one), parse_proof(other)
    except ValueError:
        return False
    return (first.hash, first.signature) == (second.hash, second.signature)


def proof_id(env: str, shard: int, range_no: int) -> str:
    """The id of the proof of one closed range: a pure function of its place."""
    return f"{env}-{shard}-{range_no}"
