"""Verdicts that posted nothing, in a projection: one row an offset, found by event and settlement."""

from __future__ import annotations

import uuid
from contextlib import closing

import pytest

from ledger_core.postgres.connection import connect
from ledger_core.postgres.reading.projection_places import enter
from ledger_core.postgres.reading.projection_verdicts import VerdictStore, verdicts_of_event, verdicts_of_settlement
from ledger_core.posting.store_port import Fenced
from ledger_core.reading.verdicts import HeardOutcome, OutcomeReach, ProjectedVerdict, read_outcomes
from tests.support.projections import asking, begun, make_schemas, projection_in

pytestmark = pytest.mark.services

EVENT = str(uuid.UUID(int=7))
OUTCOMES = [
    HeardOutcome(0, 0, EVENT, "st_1", "rejected", "unbalanced"),
    HeardOutcome(1, 1, None, None, "rejected", "no_record"),
    HeardOutcome(2, 2, EVENT, "st_1", "posted", None),
    HeardOutcome(3, 3, EVENT, "st_1", "duplicate", "already_posted"),
]


def test_what_became_of_an_event_is_found_by_event_and_settlement(database_url: str) -> None:
    make_schemas(database_url)
    place = begun(database_url)
    with closing(connect(database_url, application_name="test")) as connection:
        enter(connection, place)
        store = VerdictStore(connection, projection_in(connection, place))
        reach = store.reach(0)
        assert reach == OutcomeReach(0)
        for at in range(len(OUTCOMES)):
            read = read_outcomes(reach, OUTCOMES[at : at + 1])
            store.write(reach, read)
            reach = read.reach
        assert store.reach(0) == reach == OutcomeReach(0, 4, 0, 4)
        with pytest.raises(Fenced):
            store.write(OutcomeReach(0), read_outcomes(OutcomeReach(0), OUTCOMES))
        store.write(reach, read_outcomes(reach, OUTCOMES))  # said again
    with asking(database_url, place) as asked:
        wanted = [
            ProjectedVerdict(0, 0, EVENT, "st_1", "rejected", "unbalanced"),
            ProjectedVerdict(0, 3, EVENT, "st_1", "duplicate", "already_posted"),
        ]
        assert verdicts_of_event(asked, EVENT, limit=9) == wanted
        assert verdicts_of_settlement(asked, "st_1", limit=9) == wanted
        assert verdicts_of_settlement(asked, "st_1", after=(0, 0), limit=9) == wanted[1:]
        assert verdicts_of_event(asked, str(uuid.UUID(int=8)), limit=9) == []
