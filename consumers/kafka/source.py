"""What a service asks of a reader of Kafka; `consumers.kafka.group_source` is one.

Guarantees: declares only. A source delivers every record of an owned partition in offset order, from the offset that
its owner answered on assignment, at least once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ledger_core.ports import Record


class RecordSource(Protocol):
    """A member of a consumer group on one topic. Every method may raise Unavailable("kafka")."""

    @property
    def owned(self) -> frozenset[int]: ...

    def poll(self, records_max: int, timeout_seconds: float) -> list[tuple[int, list[Record]]]:
        """Records by partition, in offset order, of owned partitions only. Raises Unreadable where one cannot be read,
        once everything before it was returned."""
        ...

    def seek(self, partition: int, offset: int) -> None: ...

    def pass_over(self, partition: int, first: int, end: int) -> None:
        """Go on at `end`: what stands from `first` on cannot be read, and is set aside. Offsets before it must hold no
        record: Refused otherwise."""
        ...

    def pause(self, partition: int) -> None: ...

    def resume(self, partition: int) -> None: ...

    def waiting(self, partition: int, next_offset: int) -> int | None:
        """How many offsets from `next_offset` on may hold a record; None when not known yet. 0 at the end of what can
        be read, even where the partition ends in offsets without a record."""
        ...

    def passed(self, partition: int, next_offset: int) -> int:
        """`next_offset`, or the end of what can be read where no record stands between the two: else lag tools would
        see work in what ends there for ever."""
        ...

    def note_done(self, partition: int, next_offset: int) -> None:
        """Commit how far we are to Kafka, for lag tools only."""
        ...

    def close(self) -> None: ...


StartOffset = Callable[[int], int]
OnRevoked = Callable[[int], None]
OpenSource = Callable[[StartOffset, OnRevoked], RecordSource]
"""Joins the group; the callbacks say where an assigned partition starts, and that one went away."""
