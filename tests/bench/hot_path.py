"""The Python of one posted event, alone: decode, decide, sequence, pack rows, encode both records. No servers.

    python -m tests.bench.hot_path [--events N] [--rounds N]

Prints one JSON object: the least processor time an event of all rounds, in microseconds, by part and in total. It runs
whatever is imported, compiled or not: `python -m tests.bench compiled` compares the two.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Sequence
from typing import Final

from consumers.posting.decision import decide
from finance.workshop.sample_data import synthetic
from ledger_core.ports import Record
from ledger_core.postgres.posting.copy_binary import packed_rows, unknown_accounts
from ledger_core.posting.plans import Posted, ShardHead
from ledger_core.posting.sequencing import event_ids, sequence
from schemas.wire.journal import encode_journal
from schemas.wire.outcomes import encode_outcome
from schemas.wire.settlements import encode_settlement

PARTS: Final = ("decide", "sequence", "pack", "encode")
BATCH_RECORDS: Final = 4000  # limits.batch_records_max of topology.yaml
GENESIS: Final = ShardHead(
    shard=0, topic="finance.settlements", first_offset=0, next_offset=0, seq=0, head_hash=None, accounts=0, posted=0,
    duplicates=0, rejected=0, relayed_offset=0,
)  # fmt: skip
TIMESTAMP_MS: Final = 1_760_000_000_000


def records(events: int) -> list[Record]:
    return [
        Record(GENESIS.topic, 0, offset, TIMESTAMP_MS, event.settlement_id.encode(), encode_settlement(event), ())
        for offset, event in enumerate(synthetic(events))
    ]


def one_round(batches: Sequence[Sequence[Record]]) -> dict[str, float]:
    """Processor seconds of each part, over all batches."""
    spent = dict.fromkeys(PARTS, 0.0)
    numbers: dict[str, int] = {}
    head = GENESIS
    for batch in batches:
        marks = [time.process_time()]
        decided = [decide(record) for record in batch]
        marks.append(time.process_time())
        event_ids(decided)
        plan = sequence(head, decided, {})
        marks.append(time.process_time())
        for account in unknown_accounts(plan.posted, numbers):
            numbers[account] = len(numbers) + 1
        packed_rows(0, plan.posted, numbers)
        marks.append(time.process_time())
        for entry in plan.posted:
            _encode(entry)
        marks.append(time.process_time())
        for part, began, ended in zip(PARTS, marks, marks[1:], strict=False):
            spent[part] += ended - began
        head = plan.after
    return spent


def _encode(entry: Posted) -> None:
    """What the relay sends of an entry."""
    draft = entry.draft
    encode_journal(0, entry.seq, entry.body, entry.entry_hash)
    encode_outcome(
        *(draft.event_id, draft.settlement_id, "posted", None, None),
        *(0, entry.record.offset, entry.seq, entry.entry_hash),
    )


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench hot_path", description=__doc__)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    all_records = records(options.events)
    batches = [all_records[i : i + BATCH_RECORDS] for i in range(0, len(all_records), BATCH_RECORDS)]
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)  # as every process of ours does
    rounds = [one_round(batches) for _ in range(options.rounds)]
    least = {part: min(spent[part] for spent in rounds) / options.events * 1e6 for part in PARTS}
    sys.stdout.write(json.dumps(least | {"total": sum(least.values())}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
