"""A projection filled from its topics by an operator: what `finance projection rebuild` is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

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
from ledger_core.postgres.reading.projection_verdicts import VerdictStore, carry_verdicts
from ledger_core.reading.fold import ShardReach
from schemas.topology.model import Topology
from schemas.wire.outcomes import decode_outcome


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


def rebuild_projection(
    settings: Settings, topology: Topology, *, anew: bool, told: Callable[[int], None]
) -> tuple[Projection, int, bool]:
    """Fill a projection beside the one that is asked, and let it be asked: the projection, how many records were read,
    and whether what was asked before is gone too. `anew`: not going on with one that was begun. Raises Unavailable,
    Refused, Corrupt."""
    check_topics(settings, topology, tuple(topology.processes[NAME].consumed), name=NAME)
    topics = _Topics(settings, topology.limits.projector_batch_records_max)
    with closing(open_projection_database(settings, "finance projection rebuild")) as connection:
        begun = [it for it in projections(connection) if it.building and it.version == VERSION and not anew]
        built = begun[0] if begun else begin(connection)
        feeds = _feeds(connection, built, topology)
        _carry(connection, built, topics, topology)
        taken = rebuild(feeds, topics, told)
        switch(connection, built)
        try:
            clear(connection)
        except LockHeld:  # somebody still reads there: the next rebuild takes the place
            return built, taken, False
    return built, taken, True


def _carry(connection: psycopg.Connection[Any], built: Projection, topics: _Topics, topology: Topology) -> None:
    """Verdicts that the topic no longer holds, from the projection that is asked."""
    before = [it for it in projections(connection) if it.asked and it.version == VERSION]
    outcomes = topology.topics["outcomes"]
    for shard in range(outcomes.partitions if before else 0):
        low, end = topics.bounds(outcomes.name, shard)
        if low == 0:
            continue  # the topic holds all of them
        oldest = next(topics.batches(outcomes.name, shard, low, end), None)
        first = None if oldest is None else decode_outcome(oldest[0].value or b"").offset
        carry_verdicts(connection, before[0], built, shard, first, low if oldest else end)


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
