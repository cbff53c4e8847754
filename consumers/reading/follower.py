"""Reading a further topic into the projection: what became of records that posted nothing, and where proofs are.

The order of side effects; each step stands as a comment where it happens:
  1. READ records of a partition, behind its cursor     nothing changes; a crash reads them again
  2. COMMIT what they say, and the cursor               the commit point, one transaction of the caller's `take`
Guarantees: as `consumers.reading.projector` in small: a partition whose records are refused stands, with a remedy in
the log, and is read again each minute; the others go on. Where another projector moved the cursor, this one goes on
from there.
Does not: know what the records say: `take` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from consumers.kafka.source import OpenSource
from consumers.reading.sound_part import explained, take_sound_part
from ledger_core.errors import Unreadable
from ledger_core.ports import Record
from ledger_core.posting.store_port import Fenced

LINGER_SECONDS: Final = 0.01
RETRY_SECONDS: Final = 60.0  # before the records of a partition that stands are read again
REMEDY: Final = "check that KAFKA_BROKERS and the topic prefix name this ledger (RUNBOOK, section 18)"

log = structlog.get_logger("projector")

Place = TypeVar("Place")


@dataclass(slots=True)
class _Partition(Generic[Place]):
    at: Place
    stands_until: float | None = None  # its records were refused: when they are read again


class Follower(Generic[Place]):
    """`start(partition)` gives the place that Postgres knows, `offset(place)` what to read first there, and
    `take(place, records)` commits what the records say and gives the place behind them. Raises Fenced, Corrupt,
    Refused, Unavailable.
    """

    def __init__(
        self,
        topic: str,
        open_source: OpenSource,
        *,
        start: Callable[[int], Place],
        offset: Callable[[Place], int],
        take: Callable[[Place, Sequence[Record]], Place],
        batch_records_max: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._start = start
        self._offset = offset
        self._take = take
        self._batch_records_max = batch_records_max
        self._monotonic = monotonic
        self._partitions: dict[int, _Partition[Place]] = {}
        self._source = open_source(self._start_offset, self._revoked)

    def step(self) -> bool:
        """Read once and commit what came. Raises Unavailable, Refused."""
        worked = False
        # 1. READ. Nothing changes: a crash, or the next owner, reads again from the cursor.
        for number, records in self._poll():
            partition = self._partitions.get(number)
            if partition is not None and partition.stands_until is None:
                self._commit(number, partition, records)
                worked = True
        for number, partition in self._partitions.items():
            if partition.stands_until is not None and self._monotonic() >= partition.stands_until:
                self._again(number)
                self._source.resume(number)
                break  # the table of partitions changed
        return worked

    def close(self) -> None:
        self._source.close()

    def _start_offset(self, number: int) -> int:
        self._partitions[number] = _Partition(self._start(number))
        return self._offset(self._partitions[number].at)

    def _revoked(self, number: int) -> None:
        self._partitions.pop(number, None)

    def _again(self, number: int) -> None:
        self._source.seek(number, self._start_offset(number))

    def _poll(self) -> list[tuple[int, list[Record]]]:
        try:
            return self._source.poll(self._batch_records_max, LINGER_SECONDS)
        except Unreadable as error:
            self._stand(error.partition, error.message, error.remedy)
            return []

    def _commit(self, number: int, partition: _Partition[Place], records: Sequence[Record]) -> None:
        try:
            # 2. COMMIT. A crash before: nothing happened, and the records are read again; after: done.
            partition.at, wrong = take_sound_part(self._take, partition.at, records)
        except Fenced:
            self._again(number)
            return
        if wrong is None:
            self._source.note_done(number, self._offset(partition.at))
        else:
            self._stand(number, *explained(wrong, REMEDY))

    def _stand(self, number: int, message: str, remedy: str) -> None:
        partition = self._partitions.get(number)
        if partition is not None:
            log.error("projector.stands", topic=self._topic, shard=number, message=message, remedy=remedy)
            self._source.pause(number)
            partition.stands_until = self._monotonic() + RETRY_SECONDS
