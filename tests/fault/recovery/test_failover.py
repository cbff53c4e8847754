"""The primary is lost, and a standby that never got its last second takes over at its address, under load.

Poster, prover and archiver are never stopped; the operator does what RUNBOOK section 9 C says of a failover.
"""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from finance.workshop.devstack import Stack
from tests.support.backups import finance, own_server
from tests.support.proofs_everywhere import proofs_everywhere, proofs_in_database
from tests.support.route import Ledger
from tests.support.standby import standby_of
from tests.support.waits import until

pytestmark = pytest.mark.services

LIMITS = {"range_entries_max": 20, "range_idle_seconds": 1, "retry_delay_ms_max": 1000}
EXIT_REFUSED = 3


def number(url: str, query: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0] or 0)


def test_a_standby_that_lost_the_last_second_goes_on_with_one_proof_for_each_id(
    stack: Stack, environ: dict[str, str], tmp_path: Path
) -> None:
    with own_server(stack, "failover") as (primary, server):
        live = {**environ, **server}
        url = live["DATABASE_URL"]
        ledger = Ledger(live, tmp_path, LIMITS)
        finance(live, "migrate")
        try:
            with standby_of(primary) as standby:
                processes = ledger.start_all()
                ledger.publish(100)
                ledger.wait_finished()
                standby.wait_caught_up()
                standby.cut_off()
                held = number(url, "SELECT count(*) FROM manifests")
                with ledger.load(600, 100):
                    until(
                        "much was archived that the standby never got",
                        lambda: number(url, "SELECT count(*) FROM manifests") >= held + 4,
                    )
                    left = proofs_in_database(url)
                    standby.take_over()
                    assert number(url, "SELECT count(*) FROM manifests") == held
                    assert processes["notary"].wait() == EXIT_REFUSED, processes["notary"].tail()

            finance(live, "backup", "adopt", "--standby", "--reason", "primary lost, incident 43")
            finance(live, "audit", "restore", "--from", "topic")
            processes["notary"] = ledger.start("notary")
            ledger.publish(50)
            ledger.wait_finished()
            for name, process in processes.items():
                assert process.running, f"{name} ended:\n{process.tail()}"
            ledger.check()
            everywhere = proofs_everywhere(live)
            assert left <= proofs_in_database(url), "a proof that had been signed is not the one that stands here"
            assert len(everywhere) == len(dict(everywhere)), "two proofs of one id"
            assert processes["poster"].said("poster.retelling")
            assert processes["prover"].said("published.adopting")
        finally:
            ledger.end()
