"""What prover and archiver ask of a reader of the journal topic; `consumers.kafka_source` is one.

Guarantees: declares only. A source delivers every record of an owned partition in offset order from the offset that the
`StartOffset` of its consumer answered, at least once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ledger_core.errors import Corrupt
from ledger_core.ports import Record
from schemas.journal_wire import JournalRecord, decode_journal


class JournalSource(Protocol):
    """A member of a consumer group on the journal topic. Every method may raise Unavailable("kafka")."""

    @property
    def owned(self) -> frozenset[int]: ...

    def poll(self, records_max: int, timeout_seconds: float) -> list[tuple[int, list[Record]]]:
        """Records by partition, in offset order, of owned partitions only."""
        ...

    def seek(self, partition: int, offset: int) -> None: ...

    def pause(self, partition: int) -> None: ...

    def resume(self, partition: int) -> None: ...

    def high_watermark(self, partition: int) -> int | None: ...

    def note_done(self, partition: int, next_offset: int) -> None:
        """Tell Kafka how far we are, for lag tools only."""
        ...

    def close(self) -> None: ...


StartOffset = Callable[[int], int]
OnRevoked = Callable[[int], None]
OpenSource = Callable[[StartOffset, OnRevoked], JournalSource]
"""Joins the group; the callbacks say where an assigned partition starts, and that one went away."""


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
