"""Where everything stands: what waits in Kafka, what each shard has done with it, the audit chain, the halt flag.

Guarantees: the database part is one consistent snapshot, taken *before* Kafka is asked, so that lag is never reported
too small. When Kafka does not answer, the rest is reported all the same and `kafka` says why.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from confluent_kafka import Message

from consumers.kafka.topic_identity import topic_faults
from finance.settings.deployment import Settings
from finance.wiring.kafka import open_watermarks
from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.personal.progress import PersonalProgress, personal_progress
from ledger_core.postgres.posting.control import Control, read_control
from ledger_core.postgres.posting.newest_record import newest_record
from ledger_core.postgres.posting.shard_halts import open_halts
from ledger_core.postgres.reading.progress import AuditProgress, ShardProgress, audit_progress, shard_progress
from ledger_core.postgres.recovery.epochs import Epoch, read_epoch
from ledger_core.postgres.session import session
from ledger_core.posting.newest_record import NewestRecord
from ledger_core.posting.store_port import ShardHalt
from schemas.topology.model import Topology


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One partition of the settlements topic. `progress` None: no poster has opened it yet. Lag None: not known."""

    shard: int  # its partition
    progress: ShardProgress | None
    high_watermark: int | None  # the end offset
    lag_records: int | None  # between cursor and end offset
    lag_seconds: float | None  # age of the oldest that waits
    halt: ShardHalt | None = None  # why it alone stands still; None while it does not
    topic_fault: str | None = None  # why this is not the topic that the shard grew from; None as far as is known

    @property
    def finished(self) -> bool:
        """Nothing waits, and everything read has gone the whole route."""
        return self.topic_fault is None and self.lag_records == 0 and (self.progress is None or self.progress.finished)


@dataclass(frozen=True, slots=True)
class PersonalStatus:
    """Personal data beside the ledger: what the keeper has done with the side topic."""

    progress: PersonalProgress  # of the database
    high_watermarks: tuple[int | None, ...]  # the end offset of each partition; None: not known

    @property
    def lags(self) -> tuple[int | None, ...]:
        """Of each partition: the offsets between its cursor and its end; None when that is not known."""
        cursors = self.progress.cursors
        return tuple(
            None if high is None else max(0, high - cursors.get(number, 0))
            for number, high in enumerate(self.high_watermarks)
        )

    @property
    def finished(self) -> bool:
        """The side topic is read, and nothing that was read waits for the keeper."""
        return self.progress.finished and all(lag == 0 for lag in self.lags)


@dataclass(frozen=True, slots=True)
class Status:
    """The whole route, read once. `kafka` is None, or why Kafka could not be asked."""

    control: Control  # whether posting is halted
    epoch: Epoch  # the present one
    shards: tuple[ShardStatus, ...]  # by number
    audit: AuditProgress  # the chain's head, and how far it is published
    personal: PersonalStatus  # beside the route: nothing on it waits for that
    kafka: str | None

    @property
    def topic_faults(self) -> tuple[str, ...]:
        """Of each shard whose topic is another one."""
        return tuple(shard.topic_fault for shard in self.shards if shard.topic_fault is not None)

    @property
    def finished(self) -> bool:
        """Everything published so far is posted, proved, archived, on the audit chain and on its topic; personal data
        are kept, refused or erased, or wait for an event that was not posted."""
        return self.audit.finished and self.personal.finished and all(shard.finished for shard in self.shards)


class StatusReader:
    """Reads the status again and again over the same Kafka client. Raises Unavailable and Refused for the database
    alone.
    """

    def __init__(self, settings: Settings, topology: Topology) -> None:
        self._dsn = settings.database_url("api")
        self._settlements, self._personal = topology.topics["settlements"], topology.topics["personal"]
        self._watermarks = open_watermarks(settings, "api")

    def read(self, now: dt.datetime) -> Status:
        with (
            session(self._dsn, application_name="finance status", read_only=True) as connection,
            connection.transaction(),
        ):
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            control, epoch = read_control(connection), read_epoch(connection)
            progress = {shard.shard: shard for shard in shard_progress(connection)}
            newest = {number: newest_record(connection, number) for number in progress}
            audit, kept = audit_progress(connection), personal_progress(connection)
            halts = {halt.shard: halt for halt in open_halts(connection)}
        kafka: str | None = None
        ends: list[int | None] = [None] * self._personal.partitions
        numbers = sorted({*range(self._settlements.partitions), *progress})
        try:
            shards = self._with_lag(numbers, progress, newest, halts, now)
            ends = [self._watermarks.high(self._personal.name, number) for number in range(len(ends))]
        except Unavailable as error:
            kafka = error.detail
            shards = [
                ShardStatus(number, progress.get(number), None, None, None, halts.get(number)) for number in numbers
            ]
        return Status(control, epoch, tuple(shards), audit, PersonalStatus(kept, tuple(ends)), kafka)

    def close(self) -> None:
        self._watermarks.close()

    def _with_lag(
        self,
        numbers: Sequence[int],
        progress: Mapping[int, ShardProgress],
        newest: Mapping[int, NewestRecord | None],
        halts: Mapping[int, ShardHalt],
        now: dt.datetime,
    ) -> list[ShardStatus]:
        """Every shard, in two passes over the topic for all of them."""
        topic, watermarks = self._settlements.name, self._watermarks
        faults = topic_faults(watermarks, topic, {shard: it for shard, it in newest.items() if it is not None})
        bounds = {number: watermarks.bounds(topic, number) for number in numbers}
        nexts = {number: progress[number].next_offset if number in progress else 0 for number in numbers}
        spans = {number: (max(low, nexts[number]), high) for number, (low, high) in bounds.items()}
        oldest = watermarks.first_of_each(topic, spans)
        return [
            self._lag(
                ShardStatus(number, progress.get(number), bounds[number][1], None, None, halts.get(number)),
                bounds[number][0],
                nexts[number],
                oldest.get(number),
                faults.get(number),
                now,
            )
            for number in numbers
        ]

    @staticmethod
    def _lag(
        status: ShardStatus,
        low: int,
        next_offset: int,
        oldest: Message | None,
        fault: Refused | None,
        now: dt.datetime,
    ) -> ShardStatus:
        """With its lag. `low`: the oldest offset of the topic; `oldest`: the first record that waits, if one can be
        read."""
        lag_records, lag_seconds = max(0, (status.high_watermark or 0) - next_offset), None
        if oldest is not None:
            lag_seconds = max(0.0, now.timestamp() - oldest.timestamp()[1] / 1000)
        elif status.halt is None:
            lag_seconds = 0.0
            if low <= next_offset:  # markers of transactions, aborted records: a poster never moves over them alone
                lag_records = 0
        return replace(
            status,
            lag_records=lag_records,
            lag_seconds=lag_seconds,
            topic_fault=None if fault is None else fault.message,
        )
