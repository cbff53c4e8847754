"""What must hold of a ledger in memory at every moment, whatever happened to its poster."""

from __future__ import annotations

from consumers.metrics import NullMetrics
from consumers.posting.relay import RelayTopics
from ledger_core.books.entries import decode_entry
from ledger_core.chain import link
from ledger_core.signing.registry import SignerRegistry
from ledger_core.verify.oracle import verify_ledger
from schemas.wire.journal import decode_journal
from schemas.wire.outcomes import decode_outcome
from tests.simulator.kafka import MemoryBroker
from tests.simulator.ledger import MemoryLedger


def check_chain_and_counts(ledger: MemoryLedger) -> None:
    """Gapless sequences, a chain that recomputes, every offset with exactly one verdict."""
    for shard, head in ledger.heads.items():
        prev: bytes | None = None
        for seq, item in enumerate(ledger.posted.get(shard, []), 1):
            entry = decode_entry(item.body)
            assert (entry.seq, entry.shard, item.seq) == (str(seq), shard, seq)
            prev = link(item.body, prev)
            assert item.entry_hash == prev
        assert (head.head_hash, head.seq) == (prev, len(ledger.posted.get(shard, [])))
        offsets = [p.record.offset for p in ledger.posted.get(shard, [])]
        offsets += [v.offset for v in ledger.unposted.get(shard, [])]
        assert sorted(offsets) == list(range(head.next_offset)), "an offset without exactly one verdict"


def check_relayed(ledger: MemoryLedger, broker: MemoryBroker, topics: RelayTopics) -> None:
    """What is below `relayed_offset` is on the topics; the journal has no gap, and nothing that was not committed."""
    for shard, head in ledger.heads.items():
        seen = 0
        posted = ledger.posted.get(shard, [])
        for value in broker.values(topics.journal, shard):
            item = decode_journal(value)
            assert item.seq <= seen + 1, f"a gap in the journal: {item.seq} after {seen}"
            assert (item.body, item.entry_hash) == (posted[item.seq - 1].body, posted[item.seq - 1].entry_hash)
            seen = max(seen, item.seq)
        assert seen >= sum(p.record.offset < head.relayed_offset for p in posted), "a journal entry is lost"
        outcomes = {decode_outcome(value).offset for value in broker.values(topics.outcomes, shard)}
        entered = posted[seen - 1].record.offset + 1 if seen else 0
        assert outcomes >= set(range(entered)), "an entry stands in the journal, and its outcome nowhere"
        assert outcomes >= set(range(head.relayed_offset)), "an outcome is lost"
        letters = {dict(h)["finance.offset"] for _, _, h in broker.logs.get((topics.dead_letters, shard), [])}
        due = [v.offset for v in ledger.unposted.get(shard, []) if v.kind == "rejected" and v.record]
        assert letters >= {b"%d" % offset for offset in due if offset < head.relayed_offset}, "a dead letter is lost"


def bytes_of(ledger: MemoryLedger, shard: int) -> tuple[list[bytes], list[bytes]]:
    verdicts: list[bytes] = [verdict.line for verdict in ledger.unposted.get(shard, [])]
    return [item.body + item.entry_hash for item in ledger.posted.get(shard, [])], verdicts


def check_sound(ledger: MemoryLedger) -> None:
    """The oracle finds nothing: chain, offsets, lines, accounts and balances, recomputed from the bodies."""
    report = verify_ledger(ledger, SignerRegistry(()))
    assert report.sound, report.findings[:5]


class StrictMetrics(NullMetrics):
    """As Prometheus: a counter that is told to go back raises."""

    def posted(self, shard: int, count: int, latency_seconds: float) -> None:
        assert count > 0
        assert latency_seconds >= 0

    def duplicates(self, shard: int, count: int) -> None:
        assert count > 0

    def relayed(self, shard: int, count: int) -> None:
        assert count > 0

    def lag(self, shard: int, records: int, seconds: float) -> None:
        assert records >= 0
        assert seconds >= 0
