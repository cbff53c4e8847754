"""Where everything stands: what waits in Kafka, what each shard has done with it, the audit chain, the halt flag.

Guarantees: the database part is one consistent snapshot, taken *before* Kafka is asked, so that lag is never reported
too small. When Kafka does not answer, the rest is reported all the same and `kafka` says why.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

from consumers.kafka.topic_identity import check_same_topic
from finance.settings.deployment import Settings
from finance.wiring.kafka import open_watermarks
from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.posting.control import Control, read_control
from ledger_core.postgres.posting.newest_record import newest_record
from ledger_core.postgres.reading.progress import AuditProgress, ShardProgress, audit_progress, shard_progress
from ledger_core.postgres.recovery.epochs import Epoch, read_epoch
from ledger_core.postgres.session import session
from ledger_core.posting.newest_record import NewestRecord
from schemas.topology.model import Topology


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One partition of the settlements topic. `progress` None: no poster has opened it yet. Lag None: not known."""

    shard: int  # its partition
    progress: ShardProgress | None
    high_watermark: int | None  # the end offset
    lag_records: int | None  # between cursor and end offset
    lag_seconds: float | None  # age of the oldest that waits
    topic_fault: str | None = None  # why this is not the topic that the shard grew from; None as far as is known

    @property
    def finished(self) -> bool:
        """Nothing waits, and everything read has gone the whole route."""
        return self.topic_fault is None and self.lag_records == 0 and (self.progress is None or self.progress.finished)


@dataclass(frozen=True, slots=True)
class Status:
    """The whole route, read once. `kafka` is None, or why Kafka could not be asked."""

    control: Control  # whether posting is halted
    epoch: Epoch  # the present one
    shards: tuple[ShardStatus, ...]  # by number
    audit: AuditProgress  # the chain's head, and how far it is published
    kafka: str | None

    @property
    def topic_faults(self) -> tuple[str, ...]:
        """Of each shard whose topic is another one."""
        return tuple(shard.topic_fault for shard in self.shards if shard.topic_fault is not None)

    @property
    def finished(self) -> bool:
        """Everything published so far is posted, proved, archived, on the audit chain and on its topic."""
        return self.audit.finished and all(shard.finished for shard in self.shards)


class StatusReader:
    """Reads the status again and again over the same Kafka client. Raises Unavailable and Refused for the database
    alone.
    """

    def __init__(self, settings: Settings, topology: Topology) -> None:
        self._dsn = settings.database_url("api")
        self._settlements = topology.topics["settlements"]
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
            audit = audit_progress(connection)
        kafka: str | None = None
        shards: list[ShardStatus] = []
        for number in sorted({*range(self._settlements.partitions), *progress}):
            found = progress.get(number)
            if kafka is None:
                try:
                    shards.append(self._with_lag(number, found, newest.get(number), now))
                    continue
                except Unavailable as error:
                    kafka = error.detail
            shards.append(ShardStatus(number, found, None, None, None))
        return Status(control, epoch, tuple(shards), audit, kafka)

    def close(self) -> None:
        self._watermarks.close()

    def _with_lag(
        self, shard: int, progress: ShardProgress | None, newest: NewestRecord | None, now: dt.datetime
    ) -> ShardStatus:
        status = self._lag(shard, progress, now)
        if newest is not None:
            try:
                check_same_topic(self._watermarks, self._settlements.name, shard, newest)
            except Refused as fault:
                return replace(status, topic_fault=fault.message)
        return status

    def _lag(self, shard: int, progress: ShardProgress | None, now: dt.datetime) -> ShardStatus:
        low, high = self._watermarks.bounds(self._settlements.name, shard)
        next_offset = progress.next_offset if progress else 0
        if high <= next_offset:
            return ShardStatus(shard, progress, high, 0, 0.0)
        oldest = self._watermarks.first_from(self._settlements.name, shard, max(low, next_offset))
        if oldest is None:  # markers of transactions, aborted records: a poster never moves over them alone
            return ShardStatus(shard, progress, high, 0 if low <= next_offset else high - next_offset, 0.0)
        lag_seconds = max(0.0, now.timestamp() - oldest.timestamp()[1] / 1000)
        return ShardStatus(shard, progress, high, high - next_offset, lag_seconds)
