"""The records of the journal topic, taken for what they are.

Guarantees: whatever is not a journal record of its partition's shard raises Corrupt: only the poster writes this topic.
Does not: check chain or sequence; prover and archiver do.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger_core.errors import Corrupt
from ledger_core.ports import Record
from schemas.wire.journal import decode_journal
from schemas.wire.records import JournalRecord


def journal_items(records: Sequence[Record]) -> list[tuple[Record, JournalRecord]]:
    """`journal_record` of many."""
    return [(record, journal_record(record)) for record in records]


def journal_record(record: Record) -> JournalRecord:
    """The journal record in a Kafka record. Raises Corrupt: nobody but the poster writes this topic."""
    if record.value is None:
        raise Corrupt(f"{record.topic} [{record.partition}] offset {record.offset}: no value")
    item = decode_journal(record.value)
    if item.shard != record.partition:
        raise Corrupt(f"{record.topic} [{record.partition}] offset {record.offset}: an entry of shard {item.shard}")
    return item
