"""A database put back to any point between two commit points, whatever had left by then, and whoever is away meanwhile:
one proof for each id, and on.

The way is tests/support/commit_points.py. In each case a batch goes that way up to one point, the database is lost and
put back to an earlier one, and new events come while a service is away; then that comes back, and the oracle judges.
The processes run inside the test (`SteppedLedger`), so that each dies at the very call; the last test starts real ones.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from finance.workshop.devstack import Stack
from tests.simulator.faults import Faults
from tests.support.commit_points import LIMITS, NOTHING, ON_THE_WAY, OTHER_LIMITS, Case, cases, way_of
from tests.support.outages import ledger_on
from tests.support.proofs_everywhere import proofs_everywhere, proofs_in_database
from tests.support.route import Ledger
from tests.support.stepped_ledger import SteppedLedger, injected
from tests.support.waits import until

BATCH = 8
TURNS = 4  # of each process while another one is away
CLOSES_THE_AUDIT_CHAIN = 7
ROUTE_LIMITS = {"range_entries_max": 8, "range_idle_seconds": 1}
ROUTE_BATCH = 40

ALL_IS_ANNOUNCED = """
SELECT NOT EXISTS (SELECT 1 FROM audit_outbox)
   AND (SELECT published_seq FROM notary_cursor) = (SELECT max(seq) FROM audit_events)"""

Ledgers = Callable[[str], SteppedLedger]


@pytest.fixture(scope="module")
def ledgers(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledgers]:
    """One ledger for all cases of a kind, as long as it is sound: each case goes on where the one before ended."""
    made: dict[str, SteppedLedger] = {}
    every: list[SteppedLedger] = []
    faults = Faults()

    def ledger_for(kind: str) -> SteppedLedger:
        if kind not in made or not made[kind].sound:
            folder = tmp_path_factory.mktemp("points")
            environ = ledger_on(stack, f"p{uuid.uuid4().hex[:8]}.", folder).environ
            made[kind] = SteppedLedger(environ, folder, faults)
            every.append(made[kind])
        return made[kind]

    with injected(faults):
        yield ledger_for
    for ledger in every:
        ledger.close()


@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_ledger_put_back_goes_on_with_one_proof_for_each_id(ledgers: Ledgers, case: Case) -> None:
    ledger = ledgers(case.lost_at)
    ledger.sound = False
    ledger.publish(BATCH)
    copy = ledger.copy() if case.back_to == NOTHING else ""
    for point in way_of(case):
        if point.step == CLOSES_THE_AUDIT_CHAIN:
            ledger.run(["notary"], LIMITS, "all is announced", lambda: bool(ledger.ask(ALL_IS_ANNOUNCED)))
        ledger.die_at(point.process, point.call, point.mode, point.limits)
        if point.name == case.back_to:
            copy = ledger.copy()
    left = proofs_in_database(ledger.url)

    ledger.put_back(copy, epoch=case.epoch)
    go_on(ledger, case.away)

    everywhere = proofs_everywhere(ledger.environ)
    assert left <= proofs_in_database(ledger.url), "a proof that had been signed is not the one that stands here"
    assert len(everywhere) == len(dict(everywhere)), "two proofs of one id"
    ledger.check()
    ledger.sound = True


def go_on(ledger: SteppedLedger, away: str) -> None:
    """New events while one is away, then all of them; the chain comes back before its notary."""
    if away != "notary":
        ledger.restore_chain()
    ledger.publish(BATCH)
    ledger.faults.away = {away} - {"nobody", *ON_THE_WAY}
    turns = itertools.count()
    if away != "nobody":
        others = [name for name in ON_THE_WAY if name != away]
        ledger.run(others, OTHER_LIMITS, "the others had some turns", lambda: next(turns) >= TURNS)
    ledger.faults.away.clear()
    if away == "notary":
        ledger.restore_chain()
    ledger.finish(OTHER_LIMITS)


def number(url: str, query: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0] or 0)


def closed(url: str, events: int) -> bool:
    return number(url, "SELECT sum(next_offset - first_offset) FROM ranges") == events


def signed(url: str, events: int) -> bool:
    query = "SELECT sum(next_offset - first_offset) FROM ranges JOIN proofs USING (shard, range_no)"
    return number(url, query) == events


def listed(url: str) -> bool:
    return number(url, "SELECT (SELECT count(*) FROM ranges) - (SELECT count(*) FROM manifests)") == 0


def test_while_the_notary_is_away_nothing_of_a_range_leaves(environ: dict[str, str], tmp_path: Path) -> None:
    url = environ["DATABASE_URL"]
    ledger = Ledger(environ, tmp_path, ROUTE_LIMITS)
    ledger.publish(ROUTE_BATCH)
    running = [ledger.start(name) for name in ("poster", "prover", "archiver")]
    until("the ranges are closed", lambda: closed(url, ROUTE_BATCH))
    ledger.publish(ROUTE_BATCH)  # when these are closed, the prover has had its turn to sign the ones before
    until("later ranges are closed", lambda: closed(url, 2 * ROUTE_BATCH))
    assert number(url, "SELECT count(*) FROM proofs") == 0
    notary = ledger.start("notary")
    until("announced, signed, stored and listed", lambda: signed(url, 2 * ROUTE_BATCH) and listed(url))
    for process in (*running, notary):
        process.stop()
