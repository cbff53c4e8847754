"""The keeper of personal data, put together. As `finance.wiring.services`, which lists it among the processes."""

from __future__ import annotations

from contextlib import ExitStack

from consumers.metrics import Metrics
from consumers.personal.keeper import Keeper
from consumers.service import Service
from finance.settings.deployment import Settings
from finance.wiring.kafka import check_topics, end_of_unreadable, source_opener
from ledger_core.postgres.connection import connect
from ledger_core.postgres.personal.keeper_store import KeeperStore
from schemas.topology.model import Topology


def build_keeper(settings: Settings, topology: Topology, metrics: Metrics) -> Service:
    """The keeper of personal data, on a topic that forgets as the topology says."""
    check_topics(settings, topology, ("personal",), name="keeper")
    topic, limits = topology.topics["personal"].name, topology.limits
    with ExitStack() as undo:
        connection = connect(settings.database_url("keeper"), application_name="finance-keeper")
        undo.callback(connection.close)
        keeper = Keeper(
            KeeperStore(connection, limits.personal_waiting_days),
            source_opener("keeper", settings, topology),
            end_of=lambda partition, offset: end_of_unreadable(settings, topic, partition, offset, name="keeper"),
            batch_records_max=limits.keeper_batch_records_max,
            metrics=metrics,
        )
        undo.pop_all()
    return keeper
