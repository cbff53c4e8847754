"""The projector of the read side, put together. As `finance.wiring.services`, which lists it among the processes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import psycopg

from consumers.kafka.watermarks import Watermarks
from consumers.metrics import Metrics
from consumers.reading.follower import Follower
from consumers.reading.further_topics import AuditReach, take_events, take_outcomes
from consumers.reading.projector import Projector
from consumers.reading.silence import Silence
from consumers.service import Service
from finance.settings import clock
from finance.settings.deployment import Settings
from finance.wiring.kafka import check_topics, open_watermarks, source_opener
from ledger_core.postgres.connection import connect
from ledger_core.postgres.reading.projection_links import LinkStore
from ledger_core.postgres.reading.projection_places import Projection, bind, current
from ledger_core.postgres.reading.projection_store import ProjectionStore
from ledger_core.postgres.reading.projection_verdicts import VerdictStore
from ledger_core.times import EPOCH, MICROSECOND
from schemas.topology.model import Topology

NAME = "projector"


class Settlements:
    """Questions about the settlements topic, asked as the projector; closed with it."""

    def __init__(self, watermarks: Watermarks, topic: str) -> None:
        self._watermarks = watermarks
        self._topic = topic

    def bounds(self, shard: int) -> tuple[int, int]:
        """The oldest offset, and the one behind the newest. Raises Unavailable, Refused."""
        return self._watermarks.bounds(self._topic, shard)

    def holds_record(self, shard: int, first: int, end: int) -> bool:
        """Whether a record that can be read stands at an offset `[first, end)`. Raises Unavailable, Refused."""
        return first < end and bool(self._watermarks.first_of_each(self._topic, {shard: (first, end)}))

    def step(self) -> bool:
        """Nothing: it is asked."""
        return False

    def close(self) -> None:
        self._watermarks.close()


def open_projection_database(settings: Settings, application_name: str) -> psycopg.Connection[Any]:
    """A session of the projector, in a database that is bound to this environment. Raises Unavailable, Refused."""
    connection = connect(settings.database_url(NAME), application_name=application_name)
    try:
        bind(connection, settings.env, settings.domain, settings.topic_prefix)
    except BaseException:
        connection.close()
        raise
    return connection


def build_projector(settings: Settings, topology: Topology, metrics: Metrics) -> Service:
    """The projector, on the projection that is asked; an empty one is made where there is none."""
    check_topics(settings, topology, tuple(topology.processes[NAME].consumed), name=NAME)
    limits = topology.limits
    with ExitStack() as undo:
        connection = open_projection_database(settings, "finance-projector")
        undo.callback(connection.close)
        projection = current(connection)
        store = ProjectionStore(connection, projection)
        watermarks = open_watermarks(settings, NAME)
        undo.callback(watermarks.close)
        settlements = Settlements(watermarks, topology.topics["settlements"].name)
        beside = _followers(connection, projection, settings, topology)
        for follower in beside:
            undo.callback(follower.close)
        projector = Projector(
            store,
            source_opener(NAME, settings, topology),
            batch_records_max=limits.projector_batch_records_max,
            clock=clock.utc_now,
            metrics=metrics,
            silent_until=Silence(VerdictStore(connection, projection), settlements, _now_us),
            beside=(*beside, settlements),
        )
        undo.pop_all()
    return projector


def _followers(
    connection: psycopg.Connection[Any], projection: Projection, settings: Settings, topology: Topology
) -> Sequence[Follower[Any]]:
    """What reads the further topics; a client is opened with each."""
    verdicts, links = VerdictStore(connection, projection), LinkStore(connection, projection)
    records_max = topology.limits.projector_batch_records_max
    outcomes = Follower(
        "outcomes",
        source_opener(NAME, settings, topology, key="outcomes"),
        start=verdicts.reach,
        offset=lambda reach: reach.next_offset,
        take=partial(take_outcomes, verdicts),
        batch_records_max=records_max,
    )
    audit = Follower(
        "audit",
        source_opener(NAME, settings, topology, key="audit"),
        start=lambda partition: AuditReach(partition, links.next_offset(partition)),
        offset=lambda place: place.next_offset,
        take=partial(take_events, links),
        batch_records_max=records_max,
    )
    return outcomes, audit


def _now_us() -> int:
    return (clock.utc_now() - EPOCH) // MICROSECOND
