"""A projection filled from its topics by an operator: what `finance projection rebuild` is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Final, NamedTuple

import psycopg

from consumers.reading.further_topics import AuditReach, take_events, take_outcomes
from consumers.reading.projector import take_journal
from consumers.reading.rebuild import Feed, rebuild
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.wiring.kafka import check_topics, open_partition, open_watermarks
from finance.wiring.reading import NAME, open_projection_database
from ledger_core.errors import LockHeld
from ledger_core.ports import Record
from ledger_core.postgres.reading.projection_links import LinkStore
from ledger_core.postgres.reading.projection_places import (
    VERSION,
    Projection,
    begin,
    clear,
    projections,
    switch,
)
from ledger_core.postgres.reading.projection_store import ProjectionStore
from ledger_core.postgres.reading.projection_verdicts import VerdictStore, carry_verdicts, take_from_ledger
from ledger_core.postgres.session import session
from ledger_core.reading.fold import ShardReach
from schemas.topology.model import Topology
from schemas.wire.outcomes import decode_outcome

STATEMENT_TIMEOUT_MS: Final = 15 * 60_000  # of reading verdicts from the ledger


class _Topics:
    """Topics read as the projector, without its groups."""

    def __init__(self, settings: Settings, records_max: int) -> None:
        self._settings = settings
        self._records_max = records_max

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        with closing(open_watermarks(self._settings, NAME)) as watermarks:
            return watermarks.bounds(topic, partition)

    def batches(self, topic: str, partition: int, offset: int, end: int) -> Iterator[list[Record]]:
        reader = open_partition(self._settings, topic, partition, offset, end, name=NAME, append_times=False)
        with closing(reader):
            while not reader.done:
                records = reader.read(self._records_max)
                if records:
                    yield records


class BuiltAnew(NamedTuple):
    """What a rebuild came to."""

    projection: Projection  # that is asked now
    records: int  # that were read
    cleared: bool  # whether what was asked before is gone too
    verdicts_from: Mapping[int, int | None]  # shards of which older verdicts are not known, and from which settlements
    # offset on they are; None: of none


class _Forgotten(NamedTuple):
    """What the outcomes topic no longer holds of a shard."""

    shard: int
    first: int | None  # settlements offset of its oldest outcome; None when it holds none
    next_offset: int  # of the outcomes topic: where the projection goes on


def rebuild_projection(settings: Settings, topology: Topology, *, anew: bool, told: Callable[[int], None]) -> BuiltAnew:
    """Fill a projection beside the one that is asked, and let it be asked. `anew`: not going on with one that was
    begun. Verdicts that the topic no longer holds come from the ledger, where DATABASE_URL_API says where it is, or
    else from the projection before. Raises Unavailable, Refused, Corrupt."""
    check_topics(settings, topology, tuple(topology.processes[NAME].consumed), name=NAME)
    topics = _Topics(settings, topology.limits.projector_batch_records_max)
    with closing(open_projection_database(settings, "finance projection rebuild")) as connection:
        begun = [it for it in projections(connection) if it.building and it.version == VERSION and not anew]
        built = begun[0] if begun else begin(connection)
        feeds = _feeds(connection, built, topology)
        forgotten = list(_forgotten(topics, topology))
        _take_forgotten(settings, connection, built, forgotten)
        taken = rebuild(feeds, topics, told)
        verdicts = VerdictStore(connection, built)
        known = {it.shard: verdicts.reach(it.shard).complete_from for it in forgotten}
        incomplete = {shard: offset for shard, offset in known.items() if offset != 0}
        switch(connection, built)
        try:
            clear(connection)
        except LockHeld:  # somebody still reads there: the next rebuild takes the place
            return BuiltAnew(built, taken, False, incomplete)
    return BuiltAnew(built, taken, True, incomplete)


def _forgotten(topics: _Topics, topology: Topology) -> Iterator[_Forgotten]:
    outcomes = topology.topics["outcomes"]
    for shard in range(outcomes.partitions):
        low, end = topics.bounds(outcomes.name, shard)
        if low:
            oldest = next(topics.batches(outcomes.name, shard, low, end), None)
            first = None if oldest is None else decode_outcome(oldest[0].value or b"").offset
            yield _Forgotten(shard, first, end if oldest is None else oldest[0].offset)


def _take_forgotten(
    settings: Settings, connection: psycopg.Connection[Any], built: Projection, forgotten: Sequence[_Forgotten]
) -> None:
    """Into a projection that has no verdict of these shards yet."""
    if forgotten and settings.has_database_url("api"):
        with session(
            settings.database_url("api"),
            application_name="finance projection rebuild",
            read_only=True,
            statement_timeout_ms=STATEMENT_TIMEOUT_MS,
        ) as ledger:
            for it in forgotten:
                take_from_ledger(connection, ledger, built, *it)
        return
    for before in projections(connection):
        if before.asked and before.version == VERSION:
            for it in forgotten:
                carry_verdicts(connection, before, built, *it)


def _feeds(connection: psycopg.Connection[Any], built: Projection, topology: Topology) -> list[Feed[Any]]:
    journal, outcomes, audit = (topology.topics[key] for key in ("journal", "outcomes", "audit"))
    store = ProjectionStore(connection, built)
    verdicts, links = VerdictStore(connection, built), LinkStore(connection, built)

    def take(before: ShardReach, records: Any) -> ShardReach:
        return take_journal(store, before, records, clock.utc_now())

    return [
        Feed(journal.name, journal.partitions, store.reach, lambda reach: reach.next_offset, take),
        Feed(
            outcomes.name,
            outcomes.partitions,
            verdicts.reach,
            lambda reach: reach.next_offset,
            partial(take_outcomes, verdicts),
        ),
        Feed(
            audit.name,
            audit.partitions,
            lambda partition: AuditReach(partition, links.next_offset(partition)),
            lambda place: place.next_offset,
            partial(take_events, links),
        ),
    ]
