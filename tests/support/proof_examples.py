"""Small, correct examples of signed statements for tests: built by the product's own code from a tiny chain."""

from __future__ import annotations

from ledger_core.posting.verdicts import VerdictLine, encode_verdict, verdicts_hash
from ledger_core.proving.range_proof import ProofPayload, ShardRange, SourceRange, TimeRange, Totals, row_ids
from ledger_core.signing.statements import EMPTY_SHA256

ROOT = "ab" * 32
HEAD = "cd" * 32
PREV = "ef" * 32
TRACE_ID = "0123456789abcdef0123456789abcdef"
TS = "2025-11-01T00:00:00.000000Z"
VERDICTS = [encode_verdict(VerdictLine(offset="12", reason="same_content", verdict="duplicate"))]


def shard_range(
    shard: int = 0, first_seq: int = 11, last_seq: int = 13, verdicts: list[bytes] = VERDICTS, first_offset: int = 10
) -> ShardRange:
    posted = last_seq - first_seq + 1
    return ShardRange(
        shard=shard,
        first_seq=str(first_seq),
        last_seq=str(last_seq),
        prev_hash=None if first_seq == 1 else PREV,
        head_hash=None if last_seq == 0 else (HEAD if posted else PREV),
        tree_size=str(last_seq),
        root=ROOT if last_seq else EMPTY_SHA256,
        source=SourceRange(
            topic="finance.settlements",
            partition=shard,
            first_offset=str(first_offset),
            next_offset=str(first_offset + posted + len(verdicts)),
            posted=str(posted),
            duplicates=str(len(verdicts)),
            rejected="0",
            verdicts_hash=verdicts_hash(verdicts).hex(),
        ),
    )


def payload(*shards: ShardRange, prev_proof_hash: str | None = None) -> ProofPayload:
    parts = shards or (shard_range(),)
    rows = sum(int(part.source.posted) for part in parts)
    return ProofPayload(
        proof_id="test-0-1",
        version=1,
        service="finance",
        env="test",
        range=TimeRange(from_ts=TS if rows else None, to_ts=TS if rows else None),
        ledger_row_ids=row_ids(parts),
        num_rows=str(rows),
        shards=parts,
        totals={"USD": Totals(debits="100", credits="100")} if rows else {},
        prev_proof_hash=prev_proof_hash,
        trace_id=TRACE_ID,
        signer_kid="test-ed25519-1",
        alg="ed25519",
        ts=TS,
    )
