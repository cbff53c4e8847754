"""Recomputing what the prover must have left behind, from the tiny ledger itself and nothing the prover remembered."""

from __future__ import annotations

from ledger_core.posting.verdicts import verdicts_hash
from ledger_core.proving.checkpoint import RecordHead, parse_and_verify
from ledger_core.proving.closed_range import ClosedRange
from ledger_core.proving.range_proof import parse_payload, parse_proof
from ledger_core.signing.registry import SignerRegistry
from ledger_core.signing.signatures import decode_signature, verify_digest
from ledger_core.tree import leaf_hash, root_of
from tests.support.journal_factory import TinyShard


def check_ranges(shard: TinyShard, ranges: list[ClosedRange], *, complete: bool = True) -> None:
    """Assert that ranges cover the shard's offsets and sequences without gap or overlap and say the truth of each."""
    offset, seq, prev_hash = shard.first_offset, 0, None
    for number, closed in enumerate(ranges, start=1):
        assert (closed.range_no, closed.first_offset, closed.first_seq) == (number, offset, seq + 1)
        payload = parse_payload(closed.payload)
        assert payload.prev_proof_hash == prev_hash
        assert payload.digest() == closed.hash
        (part,) = payload.shards
        entries = shard.entries[seq : closed.last_seq]
        assert [item.offset for item in entries] == [
            item.offset for item in shard.entries if offset <= item.offset < closed.next_offset
        ]
        lines = shard.verdict_lines(offset, closed.next_offset)
        assert part.source.verdicts_hash == verdicts_hash(lines).hex()
        assert int(part.source.posted) == len(entries)
        assert part.prev_hash == (shard.entries[seq - 1].entry_hash.hex() if seq else None)
        assert part.head_hash == (shard.entries[closed.last_seq - 1].entry_hash.hex() if closed.last_seq else None)
        assert part.root == root_of(leaf_hash(item.body) for item in shard.entries[: closed.last_seq]).hex()
        totals: dict[str, int] = {}
        for item in entries:
            for line in item.entry.lines:
                if line.side == "credit":
                    totals[line.currency] = totals.get(line.currency, 0) + int(line.amount_minor)
        assert {currency: int(sums.credits) for currency, sums in payload.totals.items()} == totals
        times = [item.entry.recorded_at for item in entries]
        assert (payload.range.from_ts, payload.range.to_ts) == (min(times, default=None), max(times, default=None))
        offset, seq, prev_hash = closed.next_offset, closed.last_seq, closed.hash.hex()
    if complete:
        assert (offset, seq) == (shard.next_offset, len(shard.entries))


def check_proof(closed: ClosedRange, proof: bytes, registry: SignerRegistry) -> None:
    """Assert that a proof is the signed payload of its range."""
    parsed = parse_proof(proof)
    assert parsed.to_bytes() == closed.payload
    verify_digest(registry.get(parsed.signer_kid).public_key, closed.hash, decode_signature(parsed.signature))


def check_checkpoint(shard: TinyShard, closed: ClosedRange, note: bytes, registry: SignerRegistry) -> None:
    """Assert that a note is the signed head of the shard's record at the end of a range."""
    checkpoint, _ = parse_and_verify(note, registry)
    lines = shard.verdict_lines(shard.first_offset, closed.next_offset)
    assert checkpoint.size == closed.last_seq
    assert checkpoint.root == root_of(leaf_hash(item.body) for item in shard.entries[: closed.last_seq])
    assert checkpoint.record == RecordHead(
        shard.first_offset, closed.next_offset, len(lines), root_of(map(leaf_hash, lines))
    )
