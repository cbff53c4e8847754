"""Offsets that a reader of committed records passes over: explained by what the log has there, or records were lost.

A transaction leaves a marker at its end, and an aborted one its records; the log has both for as long as it has what is
around them. Where it has nothing (compaction, a broken log), records are lost that nobody has given a verdict.

Guarantees: an offset is explained only by a marker, or a batch of an aborted transaction, that the partition's leader
has there now; anything else is Refused, and names the first such offset.
Does not: ask about offsets that hold a committed record: a reader without a gap asks nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from consumers.kafka.log_batches import Batch
from ledger_core.errors import Refused

BATCH_BYTES: Final = 512  # more than a marker takes; of a long hole so many bytes an offset are asked for at once
ANSWER_BYTES: Final = 2**20
REMEDY: Final = (
    "bring the topic back whole (its records at their offsets with their times) and keep its cleanup.policy at delete; "
    "where they are gone for good, start a new ledger on a topic of another name; nothing was skipped"
)

Explain = Callable[[int, int, int], None]
"""(partition, first offset, end offset): offsets in which a reader of committed records met nothing."""


class Log(Protocol):
    """`consumers.kafka.log_batches.LogBatches`."""

    def read(self, topic: str, partition: int, offset: int, bytes_max: int) -> list[Batch]: ...

    def close(self) -> None: ...


class Holes:
    """The holes of one topic. `open_log` is called for the first one: where nobody works in transactions, never."""

    def __init__(self, topic: str, open_log: Callable[[], Log]) -> None:
        self._topic = topic
        self._open_log = open_log
        self._log: Log | None = None

    def explain(self, partition: int, first: int, end: int) -> None:
        """Return when every offset of `[first, end)` is explained. Raises Refused, Unavailable."""
        if self._log is None:
            self._log = self._open_log()
        due = first
        while due < end:
            bytes_max = min(ANSWER_BYTES, BATCH_BYTES * (end - due))
            reached = _reach(self._log.read(self._topic, partition, due, bytes_max), due)
            if reached == due:
                raise Refused(
                    f"{self._topic} [{partition}] has lost what stood at offset {due} (between {first - 1} and {end}): "
                    "neither an aborted record nor the marker of a transaction is there",
                    remedy=REMEDY,
                )
            due = reached

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def _reach(batches: list[Batch], due: int) -> int:
    """Up to which offset these explain, from `due` on."""
    for batch in batches:
        if batch.last < due:
            continue
        if batch.first > due or batch.kind == "records":
            break
        due = batch.last + 1
    return due
