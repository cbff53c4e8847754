"""The role that only reads takes all it can, and everything goes on; who waits for a lock is unwell, and says for whom.

The locks of jobs are nobody's but their role's (tests/integration/schema/test_starving.py has the table of acts).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from ledger_core.postgres.schema.authority import MATRIX, granted
from ledger_core.postgres.schema.bounds import CONNECTIONS
from tests.support.databases import role_url
from tests.support.route import Ledger
from tests.support.scrape import scrape
from tests.support.waits import until

pytestmark = pytest.mark.services

AUDITOR = "finance_auditor"


@pytest.fixture
def ledger(environ: dict[str, str], tmp_path: Path) -> Iterator[Ledger]:
    running = Ledger(environ, tmp_path, {"range_idle_seconds": 1, "retry_delay_ms_max": 500})
    yield running
    running.end()


def posted(ledger: Ledger) -> int:
    return int(ledger.ask("SELECT coalesce(sum(posted), 0) FROM shards")[0])


def test_an_auditor_that_takes_all_it_can_stops_nobody(ledger: Ledger) -> None:
    ledger.start("poster").wait_said("poster.shard_opened")
    with ExitStack() as stack:
        for _ in range(CONNECTIONS[AUDITOR]):
            session = stack.enter_context(psycopg.connect(role_url(ledger.environ["DATABASE_URL"], AUDITOR)))
            session.execute("SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0")
            session.commit()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("SELECT pg_advisory_lock(generate_series(1, 1000))")
            session.rollback()
            for table in MATRIX:
                if (table, AUDITOR, "SELECT") in granted():
                    session.execute(f"LOCK TABLE {table} IN ACCESS SHARE MODE; SELECT 1 FROM {table}".encode())
        notary, prover = ledger.start("notary"), ledger.start("prover")
        ledger.publish(40)
        until("all are posted", lambda: posted(ledger) == 40)
        until("a range is announced", lambda: ledger.ask("SELECT count(*) FROM proofs")[0] > 0)
        for command in (["rotate", "status"], ["halt", "--reason", "a drill"], ["migrate"]):
            told = ledger.command(*command)
            assert told.returncode == 0, (command, told.stderr)
        assert notary.said("notary.leading")
        assert prover.healthy()


def test_a_process_that_waits_for_a_lock_is_unwell_and_says_who_has_it(ledger: Ledger) -> None:
    poster = ledger.start("poster")
    poster.wait_said("poster.shard_opened")
    ledger.publish(10)
    until("it posts", lambda: posted(ledger) == 10)
    until("it is well", poster.healthy)
    with psycopg.connect(ledger.environ["DATABASE_URL"], application_name="somebody") as holder:
        holder.execute("LOCK TABLE entries IN EXCLUSIVE MODE")
        ledger.publish(10)
        until("it is unwell", lambda: not poster.healthy())
        _, body = scrape(f"{poster.url}/healthz", poster.environ)
        assert json.loads(body)["state"] == "waiting for a lock"
        named = f"held by session {holder.info.backend_pid} of postgres (somebody)"
        assert [line for _, line in poster.lines if named in str(line)], poster.lines
        assert posted(ledger) == 10
    until("it posts again", lambda: posted(ledger) == 20)
    until("it is well again", poster.healthy)


def test_a_command_gives_up_on_a_lock_and_names_who_has_it(ledger: Ledger) -> None:
    with psycopg.connect(ledger.environ["DATABASE_URL"], application_name="somebody") as holder:
        holder.execute("LOCK TABLE halts IN EXCLUSIVE MODE")
        told = ledger.command("halt", "--reason", "a drill")
        assert told.returncode == 4, told.stderr
        assert f"session {holder.info.backend_pid} of postgres (somebody)" in told.stderr
        assert "RUNBOOK, section 14" in told.stderr
    assert ledger.command("halt", "--reason", "a drill").returncode == 0
