"""Every commit point of ARCHITECTURE.md stands in the table of the restore tests, by a call that there is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from ledger_core.postgres.archive.archiver_store import PostgresArchiveStore
from ledger_core.postgres.audit.export_store import PostgresAuditExportStore
from ledger_core.postgres.audit.notary_store import PostgresAuditStore
from ledger_core.postgres.posting.poster_store import PosterStore
from ledger_core.postgres.proving.prover_store import PostgresProverStore
from producers.kafka.publisher import KafkaPublisher
from tests.support.commit_points import AWAY, POINTS, Point, cases

ARCHITECTURE = Path(__file__).parents[3] / "ARCHITECTURE.md"
ADAPTERS: Mapping[str, tuple[type, ...]] = {
    "poster": (PosterStore, KafkaPublisher),
    "prover": (PostgresProverStore,),
    "archiver": (PostgresArchiveStore, PostgresAuditExportStore),
    "notary": (PostgresAuditStore, KafkaPublisher),
}


def rows() -> dict[int, str]:
    """Step -> the process that takes it, of the table of commit points."""
    text = ARCHITECTURE.read_text("utf-8").partition("| step | commit point |")[2].partition("\n\n")[0]
    return {int(step): process for step, process in re.findall(r"^\| (\d+) (\w+)", text, re.MULTILINE)}


def test_every_commit_point_is_one_that_a_database_is_put_back_around() -> None:
    assert len(rows()) >= 10
    entered = {point.step: point.process for point in POINTS}
    assert entered == {**rows(), 2: "poster"}, "enter it in tests/support/commit_points.py"  # the relay is the poster's


@pytest.mark.parametrize("point", POINTS, ids=lambda point: str(point.name))
def test_a_process_dies_at_a_call_that_it_makes(point: Point) -> None:
    assert any(hasattr(adapter, point.call) for adapter in ADAPTERS[point.process])


def test_each_point_meets_each_earlier_state_and_everybody_is_away_often() -> None:
    found = cases()
    assert len({(case.lost_at, case.back_to) for case in found}) == len(found)
    assert all(sum(case.away == name for case in found) >= 4 for name in AWAY)
    for away in AWAY:
        assert {case.epoch for case in found if case.away == away} == {True, False}
