"""Whole shards put into a ledger in memory: every row of a tiny shard, closed and signed where the test says."""

from __future__ import annotations

from collections.abc import Sequence

from ledger_core.posting.verdicts import decode_verdict
from ledger_core.proving import range_proof
from ledger_core.signing import notes
from ledger_core.times import parse_time
from ledger_core.verify.ledger_rows import EntryRow, RangeRow, ShardRow, VerdictRow
from tests.simulator.ledger import MemoryLedger
from tests.support.archive_factory import Key, closed_of, cut_of
from tests.support.journal_factory import TinyShard


def add_shard(
    ledger: MemoryLedger, shard: TinyShard, cuts: Sequence[tuple[int, int]], key: Key, *, signed: bool = True
) -> None:
    """Add a shard, closed and signed at each (last_seq, next_offset)."""
    number = shard.shard
    ledger.entry_rows[number] = [
        EntryRow(
            item.seq,
            item.entry.event_id,
            item.offset,
            parse_time(item.entry.recorded_at),
            item.entry_hash,
            item.body,
        )
        for item in shard.entries
    ]
    ledger.line_rows[number], ledger.account_rows[number], ledger.balance_rows[number] = [], [], []
    for item in shard.entries:
        legs = [(leg.account, leg.side, int(leg.amount_minor), leg.currency) for leg in item.entry.lines]
        ledger.add_lines(number, item.seq, legs)
    verdicts = {offset: (decode_verdict(line), line) for offset, line in sorted(shard.verdicts.items())}
    ledger.verdict_rows[number] = [
        VerdictRow(
            offset,
            verdict.verdict,
            verdict.reason,
            verdict.event_id,
            bytes.fromhex(verdict.content_hash) if verdict.content_hash else None,
            line,
        )
        for offset, (verdict, line) in verdicts.items()
    ]
    kinds = [verdict.verdict for verdict, _ in verdicts.values()]
    ledger.shard_rows.append(
        ShardRow(
            number,
            shard.topic,
            shard.first_offset,
            shard.next_offset,
            len(shard.entries),
            shard.head,
            len(ledger.account_rows[number]),
            len(shard.entries),
            kinds.count("duplicate"),
            kinds.count("rejected"),
        )
    )
    _add_ranges(ledger, shard, cuts, key, signed)


def _add_ranges(
    ledger: MemoryLedger, shard: TinyShard, cuts: Sequence[tuple[int, int]], key: Key, signed: bool
) -> None:
    ranges = ledger.range_rows[shard.shard] = []
    signed_notes = ledger.signed_notes[shard.shard] = []
    prev, prev_proof_hash = None, None
    for number, (last_seq, next_offset) in enumerate(cuts, 1):
        prev = cut_of(shard, prev, last_seq, next_offset)
        closed = closed_of(prev, shard, key, number, prev_proof_hash)
        prev_proof_hash = closed.hash.hex()
        proof = range_proof.assemble_proof(closed.payload, key.sign_digest(closed.hash)) if signed else None
        ranges.append(
            RangeRow(
                number,
                closed.first_seq,
                closed.last_seq,
                closed.first_offset,
                closed.next_offset,
                closed.payload,
                closed.hash,
                closed.checkpoint_text,
                closed.tree,
                closed.verdict_tree,
                closed.head_hash,
                proof,
            )
        )
        if signed:
            text = closed.checkpoint_text
            signed_notes.append((next_offset, notes.assemble(text, key.kid, key.public, key.sign_text(text))))
