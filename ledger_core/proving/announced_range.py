"""A closed range as the audit topic announces it: enough to close it again, to the byte, where it was lost. Pure.

Guarantees: `journal.posted` carries all that a closed range takes from outside the chain (time, trace, key, origin) and
where it was cut; entries and verdicts give the rest, and `proof_hash` says whether they are the same ones.
Does not: verify the event it was read from, or close anything.
"""

from __future__ import annotations

from typing import Self

import msgspec

from ledger_core.ports import Algorithm
from ledger_core.proving.closed_range import ClosedRange, ClosingTerms
from ledger_core.proving.range_proof import ProofPayload
from ledger_core.signing.statements import Decimal, Hash, Name, ShardNo, Timestamp, TraceId
from ledger_core.times import parse_time


class AnnouncedRange(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of `journal.posted`. `origin` is that of the shard's checkpoints, `signer_kid` and `alg` name the
    key that the range was closed for. Raises ValueError when it covers no offset, or its number contradicts the hash
    before it."""

    shard: ShardNo  # number of the shard: the partition of the settlements topic, from 0
    range_no: Decimal  # decimal text; the shard's ranges count from 1, without a gap
    first_seq: Decimal  # decimal text; first entry, inclusive
    last_seq: Decimal  # decimal text, inclusive; first_seq - 1 when there is no entry
    first_offset: Decimal  # settlements offset, decimal text, inclusive
    next_offset: Decimal  # settlements offset, decimal text, exclusive
    posted: Decimal  # offsets that became entries
    duplicates: Decimal  # offsets that repeated a settled event id
    rejected: Decimal  # offsets that were refused
    head_hash: Hash | None  # entry hash at last_seq; None at genesis
    proof_hash: Hash  # SHA-256, hex, of the unsigned proof payload
    prev_proof_hash: Hash | None  # of the range before; None for the first
    origin: Name
    signer_kid: Name
    alg: Algorithm
    ts: Timestamp  # when the range was closed, UTC; set by the prover
    trace_id: TraceId  # of the closing; stands in the proof as well

    def __post_init__(self) -> None:
        parse_time(self.ts)
        if int(self.next_offset) <= int(self.first_offset):
            raise ValueError("a range covers at least one offset")
        if (self.prev_proof_hash is None) != (self.range_no == "1"):
            raise ValueError("prev_proof_hash is null exactly in the first range")

    @classmethod
    def of(cls, closed: ClosedRange, payload: ProofPayload) -> Self:
        """What is announced of a range. `payload` is that of `closed`."""
        part = payload.shards[0]
        return cls(
            shard=closed.shard,
            range_no=str(closed.range_no),
            first_seq=part.first_seq,
            last_seq=part.last_seq,
            first_offset=part.source.first_offset,
            next_offset=part.source.next_offset,
            posted=part.source.posted,
            duplicates=part.source.duplicates,
            rejected=part.source.rejected,
            head_hash=part.head_hash,
            proof_hash=closed.hash.hex(),
            prev_proof_hash=payload.prev_proof_hash,
            origin=closed.checkpoint_text.partition(b"\n")[0].decode(),
            signer_kid=payload.signer_kid,
            alg=payload.alg,
            ts=payload.ts,
            trace_id=payload.trace_id,
        )

    @classmethod
    def parse(cls, payload: dict[str, object]) -> Self:
        """The range that the payload of an audit event announces. Raises ValueError on a missing or wrong field."""
        return msgspec.convert(payload, cls)

    def told(self) -> dict[str, object]:
        """The payload without what the audit chain adds itself."""
        fields = msgspec.structs.asdict(self)
        del fields["trace_id"]
        return fields

    def terms(self, env: str) -> ClosingTerms:
        """What to close it with, so that the same entries and verdicts give the same bytes."""
        return ClosingTerms(
            env=env,
            origin=self.origin,
            range_no=int(self.range_no),
            prev_proof_hash=self.prev_proof_hash,
            signer_kid=self.signer_kid,
            alg=self.alg,
            trace_id=self.trace_id,
            ts=parse_time(self.ts),
        )

    def follows(self, before: Self) -> bool:
        """Whether it is the range after another one of its shard."""
        return (int(self.range_no), self.prev_proof_hash, self.first_offset) == (
            int(before.range_no) + 1,
            before.proof_hash,
            before.next_offset,
        )
