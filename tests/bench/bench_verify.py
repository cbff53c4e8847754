"""How many entries a second `verify archive` checks on one core: canonical form, chain, tree, balance, totals, offsets,
digests and signatures of an archive of three-line entries.

    python -m tests.bench.bench_verify [--entries 200000] [--json]

The archive is made first and lies in memory (the time is that of checking, not of any store). Rates are given by wall
clock and by processor time: the second is the honest one on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
import uuid
from collections.abc import Sequence

from ledger_core.books.entries import EntrySource, JournalEntry, encode_entry
from ledger_core.books.lines import Line
from ledger_core.chain import link_all
from ledger_core.proving.closed_range import ClosingTerms, Cut, close_range
from ledger_core.tree import CompactRange, leaf_hashes
from ledger_core.verify.oracle import verify_archive
from tests.bench.figures import show
from tests.support.archive_factory import ENV, NOW, TRACE_ID, ArchiveMaker, Key, MemoryStore

RANGE_ENTRIES = 10_000  # limits.range_entries_max of topology.yaml
TOPIC = "finance.settlements"
RECORDED_AT = "2025-11-01T00:00:00.123000Z"


def entry_body(seq: int, rng: random.Random, shard: int = 0) -> bytes:
    """A three-line settlement like the posting target's: a payable drawn from 100,000 sellers."""
    gross = rng.randint(500, 50_000)
    fee = gross * 3 // 100
    seller = rng.randrange(100_000)
    legs = (
        Line(account="asset:psp:stripe", amount_minor=str(gross), currency="USD", side="debit"),
        Line(
            account=f"liability:payable:seller-{seller}", amount_minor=str(gross - fee), currency="USD", side="credit"
        ),
        Line(account="revenue:fees", amount_minor=str(fee), currency="USD", side="credit"),
    )
    entry = JournalEntry(
        event_id=str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        event_type="settlement.captured",
        lines=legs,
        metadata={},
        occurred_at="2025-11-01T00:00:00.000000Z",
        order_id=f"ord_{seq}",
        recorded_at=RECORDED_AT,
        seq=str(seq),
        settlement_id=f"st_{seq}",
        shard=shard,
        source=EntrySource(offset=str(seq - 1), partition=shard, topic=TOPIC, value_sha256="5e" * 32),
        version=1,
    )
    return encode_entry(entry)


def make_archive(entries: int, key: Key, shard: int = 0) -> tuple[MemoryStore, int]:
    """An archive of one shard; also the uncompressed bytes of its entries."""
    store, rng = MemoryStore(), random.Random(1 + shard)
    maker = ArchiveMaker(store, key, shard)
    tree, head, size_bytes = CompactRange(), None, 0
    for first in range(1, entries + 1, RANGE_ENTRIES):
        last = min(first + RANGE_ENTRIES - 1, entries)
        bodies = [entry_body(seq, rng, shard) for seq in range(first, last + 1)]
        size_bytes += sum(map(len, bodies))
        tree = tree.extend(leaf_hashes(bodies))
        prev, head = head, link_all(bodies, head)[-1]
        debits = sum(int(json.loads(body)["lines"][0]["amount_minor"]) for body in bodies)
        cut = Cut(
            shard=shard,
            topic=TOPIC,
            first_seq=first,
            last_seq=last,
            prev_hash=prev,
            head_hash=head,
            first_offset=first - 1,
            next_offset=last,
            tree=tree,
            totals={"USD": debits},
            from_ts=RECORDED_AT,
            to_ts=RECORDED_AT,
            journal_offset=last,
        )
        origin = f"example.com/finance/{ENV}/ledger/{shard}"
        terms = ClosingTerms(
            ENV, origin, maker.range_no + 1, maker.prev_proof_hash, key.kid, key.algorithm, TRACE_ID, NOW
        )
        maker.add(close_range(cut, (), terms, CompactRange()), bodies, ())
    return store, size_bytes


def measure(entries: int, rounds: int) -> dict[str, float | int | str]:
    """The best of some rounds, since the machine is shared."""
    key = Key("rsa-sha256")
    store, size_bytes = make_archive(entries, key)
    wall, processor = [], []
    for _ in range(rounds):
        began, began_processor = time.perf_counter(), time.process_time()
        report = verify_archive(store, ENV, key.registry)
        wall.append(time.perf_counter() - began)
        processor.append(time.process_time() - began_processor)
        assert report.sound, report.findings
        assert report.counts["entries"] == entries
        assert "roots_unchecked" not in report.counts
    return {
        "entries": entries,
        "entry_bytes_mean": round(size_bytes / entries),
        "entries_per_second_wall": round(entries / min(wall)),
        "entries_per_second_processor": round(entries / min(processor)),
        "entries_per_second_wall_median": round(entries / sorted(wall)[len(wall) // 2]),
        "memory_mb_max": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench_verify", description=__doc__.split("\n\n")[0])
    parser.add_argument("--entries", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    figures = measure(options.entries, options.rounds)
    show(figures, as_json=options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
