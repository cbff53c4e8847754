"""After a restore: what was reported is reported again as it was, also where an event id came to two shards.

No topic says which shard came first, and a restored database no longer does. But what became of each offset was
reported (the outcomes topic), so posting takes from there who came first, as a replay does from its verdict log
(docs/decisions, 088); and an offset of which nothing was reported waits until every shard has posted again what was.

Guarantees: in a database that was not put back nothing is read but the ends of the topic, and nothing waits.
Does not: believe the topic in anything else, but whether a control record of the posting rules counted: verdict and
entry are computed again from the record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from consumers.kafka.source import RecordSource
from consumers.posting.first_verdicts import ELSEWHERE, FirstVerdicts
from ledger_core.errors import Refused
from ledger_core.ports import Record
from ledger_core.posting.plans import Decided, Draft, Known, Plan, ShardHead
from ledger_core.posting.rules import content_hash, content_of
from ledger_core.posting.sequencing import sequence
from ledger_core.posting.verdicts import activated_rules

ASK_AGAIN_SECONDS: Final = 1.0

log = structlog.get_logger("poster")


class Outcomes(Protocol):
    """See `consumers.kafka.reported_outcomes.ReportedOutcomes`."""

    def ends(self, shards: Iterable[int]) -> Mapping[int, int]: ...

    def rejected(self, shard: int, first: int, end: int) -> dict[int, tuple[str, str]]: ...


class Planner(Protocol):
    """`ledger_core.posting.sequencing.sequence`, or one that knows more."""

    def __call__(
        self, head: ShardHead, batch: Sequence[Decided], known: Mapping[str, Known], *, upto: int | None = None
    ) -> Plan: ...


class Retelling:
    """Of one process. `next_offsets` gives the head of every shard that the database has; `monotonic` gives seconds."""

    def __init__(
        self,
        outcomes: Outcomes,
        shards: Iterable[int],
        next_offsets: Callable[[], Mapping[int, int]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outcomes = outcomes
        self._next_offsets = next_offsets
        self._monotonic = monotonic
        told = outcomes.ends(shards)  # first: what is reported is committed before
        heads = next_offsets()
        self._ends = {shard: end for shard, end in told.items() if end > heads.get(shard, 0)}
        self._behind = dict(self._ends)
        self._rejected: dict[int, dict[int, tuple[str, str]]] = {}
        self._ask_at = float("-inf")
        for shard, end in self._ends.items():
            log.warning("poster.retelling", shard=shard, next_offset=heads.get(shard, 0), reported_to=end)

    def end(self, shard: int) -> int:
        """The offset up to which verdicts are given as they were reported; 0 for a shard that lost nothing."""
        return self._ends.get(shard, 0)

    def waits(self) -> bool:
        """Whether some shard has not yet posted again what was reported of it. Raises Unavailable."""
        if self._behind and self._monotonic() >= self._ask_at:
            self._ask_at = self._monotonic() + ASK_AGAIN_SECONDS
            heads = self._next_offsets()
            self._behind = {shard: end for shard, end in self._behind.items() if end > heads.get(shard, 0)}
            if not self._behind:
                log.info("poster.retold", shards=sorted(self._ends))
        return bool(self._behind)

    def load(self, shard: int, first: int) -> None:
        """Read what was reported of the offsets from `first` on, once. Raises Unavailable, Refused."""
        if shard not in self._rejected:
            self._rejected[shard] = self._outcomes.rejected(shard, first, self._ends[shard])

    def activated(self, shard: int, offset: int) -> bool | None:
        """Whether the control record there was reported as one that counted; None where nothing was reported of it."""
        told = self._rejected.get(shard)
        if told is None or offset >= self._ends[shard]:
            return None
        return activated_rules(told.get(offset, ("", ""))[1]) is not None

    def plan(
        self, head: ShardHead, batch: Sequence[Decided], known: Mapping[str, Known], *, upto: int | None = None
    ) -> Plan:
        """`sequence`, with the verdicts that were reported. Raises Refused when the database contradicts them."""
        told = self._rejected.get(head.shard)
        if told is None or not batch or batch[0].record.offset >= self._ends[head.shard]:
            return sequence(head, batch, known, upto=upto)
        taken = {
            item.record.offset: (event_id, Known(ELSEWHERE, 0, None, _digest(item), reason))
            for item in batch
            for event_id, reason in [told.get(item.record.offset, ("", ""))]
            if event_id
        }
        first = FirstVerdicts(head.shard, known, taken, knows_first=False)
        try:
            return first.settled(first.plan(head, batch, upto=upto), covered=True)
        except Refused as error:
            raise Refused(
                error.message, remedy="rebuild into an empty database (RUNBOOK, section 9 E); keep this one"
            ) from error


def _digest(item: Decided) -> bytes:
    outcome = item.outcome
    return content_hash(content_of(outcome)) if isinstance(outcome, Draft) else outcome.content_hash


class RetellingSource:
    """A source that gives what was reported first, and what was not once no shard waits any more."""

    def __init__(self, source: RecordSource, retelling: Retelling) -> None:
        self._source = source
        self._retelling = retelling
        self._held: set[int] = set()

    @property
    def owned(self) -> frozenset[int]:
        return self._source.owned

    def poll(self, records_max: int, timeout_seconds: float) -> list[tuple[int, list[Record]]]:
        """As `RecordSource.poll`; a group never goes beyond what was reported. Raises Unavailable, Refused."""
        if self._held and not self._retelling.waits():
            for partition in self._held & self._source.owned:
                self._source.resume(partition)
            self._held.clear()
        groups = []
        for partition, records in self._source.poll(records_max, timeout_seconds):
            told = self._told(partition, records)
            if told:
                groups.append((partition, told))
        return groups

    def _told(self, partition: int, records: list[Record]) -> list[Record]:
        end = self._retelling.end(partition)
        told = [record for record in records if record.offset < end]
        if told:
            self._retelling.load(partition, told[0].offset)
        elif not self._retelling.waits():
            return records
        if len(told) < len(records):
            self._source.seek(partition, records[len(told)].offset)
            if not told:
                self._source.pause(partition)
                self._held.add(partition)
        return told

    def seek(self, partition: int, offset: int) -> None:
        self._source.seek(partition, offset)

    def pass_over(self, partition: int, first: int, end: int) -> None:
        self._source.pass_over(partition, first, end)

    def pause(self, partition: int) -> None:
        self._source.pause(partition)

    def resume(self, partition: int) -> None:
        self._source.resume(partition)

    def waiting(self, partition: int, next_offset: int) -> int | None:
        return self._source.waiting(partition, next_offset)

    def passed(self, partition: int, next_offset: int) -> int:
        return self._source.passed(partition, next_offset)

    def note_done(self, partition: int, next_offset: int) -> None:
        self._source.note_done(partition, next_offset)

    def close(self) -> None:
        self._source.close()
