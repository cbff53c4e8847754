"""Frozen, or cut off, in the middle of a statement: no limit of the server ends such a session, and it keeps its
locks. Whoever waits behind it does, within seconds; thawed, it finds that it wrote nothing. A session that works is
left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ledger_core.errors import Unavailable
from ledger_core.postgres.connection import connect
from ledger_core.postgres.posting.poster_store import PosterStore
from ledger_core.postgres.session import translated
from tests.support import audit
from tests.support.databases import role_url
from tests.support.frozen_clients import frozen
from tests.support.posting_runs import check_ledger, commit, publish, rows
from tests.support.route import Ledger
from tests.support.settlements import TOPIC, event_id, record, settlement
from tests.support.signing import local_signer
from tests.support.waits import until

pytestmark = pytest.mark.services

MANY = 4000  # rows: what one statement for many sends before it waits for the server


@pytest.fixture
def poster_url(database_url: str) -> str:
    return role_url(database_url, "finance_poster")


def _takeover(victim: Callable[[], object], successor: Callable[[], object], *, table: str, rows: int = 0) -> None:
    """The successor gets through while the victim is frozen, and the victim ends as Unavailable."""
    with frozen(victim, table=table, rows=rows) as state:
        successor()  # or it would be Unavailable: a wait for a lock has a limit
        assert not state.thawed.is_set()
    (ended,) = state.ended
    assert isinstance(ended, Unavailable), f"thawed, it ended with {ended!r}"


@pytest.mark.parametrize("table", ["lines", "entries", "accounts", "balances", "verdicts"])
def test_a_poster_frozen_while_it_sends_rows_loses_its_shard(poster_url: str, database_url: str, table: str) -> None:
    old, new = PosterStore(poster_url), PosterStore(poster_url)
    head = old.open_shard(0, TOPIC)
    bad = [record(offset, value=b"bad") for offset in range(1, MANY if table == "verdicts" else 2)]
    _takeover(
        lambda: commit(old, head, [record(0, settlement(1)), *bad]),
        lambda: commit(new, new.open_shard(0, TOPIC), [record(0, settlement(2))]),
        table=table,
        rows=MANY - 500 if table == "verdicts" else 0,
    )
    assert rows(database_url, "SELECT event_id::text FROM entries") == [(event_id(2),)]
    check_ledger(database_url)


def test_a_poster_frozen_in_one_shard_holds_up_no_other_shard(poster_url: str, database_url: str) -> None:
    old, new = PosterStore(poster_url), PosterStore(poster_url)
    head, other = old.open_shard(0, TOPIC), new.open_shard(1, TOPIC)
    sale, rejection = settlement(1), settlement(9, reverses=event_id(99))  # a first rejection wants to be alone
    _takeover(
        lambda: commit(old, head, [record(0, sale)]),
        lambda: commit(new, other, [record(0, rejection, shard=1)]),
        table="entries",
    )
    commit(new, new.open_shard(0, TOPIC), [record(0, sale)])
    check_ledger(database_url)


def test_a_poster_frozen_alone_holds_up_no_other_shard(poster_url: str, database_url: str) -> None:
    old, new = PosterStore(poster_url), PosterStore(poster_url)
    head, other = old.open_shard(0, TOPIC), new.open_shard(1, TOPIC)
    batch = [record(0, settlement(1, reverses=event_id(99))), record(1, settlement(2))]
    _takeover(
        lambda: commit(old, head, batch),
        lambda: commit(new, other, [record(0, settlement(3), shard=1)]),
        table="lines",
    )
    commit(new, new.open_shard(0, TOPIC), batch)
    check_ledger(database_url)


def test_a_notary_frozen_while_it_extends_the_chain_loses_its_lock(environ: dict[str, str]) -> None:
    signer, registry = local_signer()
    url = environ["DATABASE_URL"]
    audit.append(url, [audit.intent(number, reason="x" * 6000) for number in range(30)])
    new = audit.build_notary(environ, signer, registry)
    leads = partial(until, "the next notary chains", lambda: audit.outbox_size(url) == 0, between=new.step)
    old = audit.build_notary(environ, signer, registry, batch_events_max=30)
    _takeover(old.step, leads, table="audit_events", rows=25)
    assert rows(url, "SELECT count(*), max(seq) FROM audit_events") == [(30, 30)]


def test_a_poster_stopped_inside_copy_is_taken_over_and_writes_nothing_when_it_goes_on(
    environ: dict[str, str], tmp_path: Path
) -> None:
    ledger = Ledger(environ, tmp_path, {"retry_delay_ms_max": 500})
    url = environ["DATABASE_URL"]
    copying = "FROM pg_stat_activity WHERE datname = current_database() AND left(query, 10) = 'COPY lines'"
    old = ledger.start("poster", group="old")
    old.wait_said("poster.shard_opened")
    with psycopg.connect(url) as gate:
        gate.execute("LOCK TABLE lines IN EXCLUSIVE MODE")  # so that it is stopped there and nowhere else
        publish(environ, [record(0, settlement(n)) for n in range(50)])
        until("it stands before its rows", lambda: rows(url, f"SELECT 1 {copying} AND wait_event_type = 'Lock'") != [])
        old.freeze()
    until("the server waits for rows", lambda: rows(url, f"SELECT 1 {copying} AND wait_event = 'ClientRead'") != [])
    new = ledger.start("poster", group="new")
    new.wait_said("poster.shard_opened")
    until("the other one posts", lambda: rows(url, "SELECT posted FROM shards WHERE shard = 0") == [(50,)])
    old.thaw()
    old.wait_said("service.unavailable", "poster.fenced")
    assert rows(url, "SELECT count(*), max(seq) FROM entries") == [(50, 50)]
    ledger.end()
    check_ledger(url)


SESSIONS: Mapping[str, str | None] = {
    "poster": "finance_poster",
    "prover": "finance_prover",
    "archiver": "finance_archiver",
    "notary": "finance_notary",
    "prove on demand": "finance_api",
    "replay, rebuild": None,  # the owner of the database that is filled
}


def _let_lock(database_url: str) -> None:
    """Give every role of this database back what migrations took: something to lock, and a table to copy into."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"GRANT TEMP ON DATABASE {name} TO PUBLIC".encode())
        connection.execute(
            "GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint), pg_advisory_xact_lock(bigint) TO PUBLIC"
        )


@pytest.mark.parametrize("process", SESSIONS)
def test_whoever_waits_behind_a_copy_that_stands_still_ends_it(database_url: str, process: str) -> None:
    """The way to it, with the role and the session of each process that holds locks."""
    role = SESSIONS[process]
    url = database_url if role is None else role_url(database_url, role)
    _let_lock(database_url)
    old, new = (connect(url, application_name=process) for _ in range(2))

    @translated()
    def hold() -> None:
        with old.transaction(), old.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE mine (n int)")
            cursor.execute("SELECT pg_advisory_xact_lock(1)")
            with cursor.copy("COPY mine FROM STDIN") as copy:
                copy.write("1\n2\n")

    _takeover(hold, lambda: new.execute("SELECT pg_advisory_lock(1)"), table="mine")
    limits = "SELECT name, setting FROM pg_settings WHERE name IN ('tcp_keepalives_idle', 'tcp_user_timeout')"
    assert new.execute(limits).fetchall() == [("tcp_keepalives_idle", "5"), ("tcp_user_timeout", "15000")]
    ((idle,),) = new.execute("SELECT current_setting('idle_in_transaction_session_timeout')").fetchall()
    assert idle != "0", "one that idles in a transaction, the server ends"


@pytest.mark.parametrize("process", SESSIONS)
def test_whoever_waits_behind_a_transaction_that_the_server_forgets_to_end_ends_it(
    database_url: str, process: str
) -> None:
    """Between two messages of one statement for many, after a Flush: no limit of the server runs there."""
    role = SESSIONS[process]
    url = database_url if role is None else role_url(database_url, role)
    _let_lock(database_url)
    old, new = (connect(url, application_name=process, idle_in_transaction_timeout_ms=1000) for _ in range(2))
    old.execute("BEGIN")
    old.execute("SELECT pg_advisory_xact_lock(1)")
    old.pgconn.enter_pipeline_mode()
    old.pgconn.send_flush_request()
    old.pgconn.flush()
    new.execute("SELECT pg_advisory_lock(1)")  # or it would be Unavailable: a wait for a lock has a limit
    assert rows(database_url, f"SELECT 1 FROM pg_stat_activity WHERE pid = {old.info.backend_pid}") == []


def _compute(session: psycopg.Connection[Any]) -> None:
    session.execute("SELECT pg_sleep(4)")


def _think(session: psycopg.Connection[Any]) -> None:
    time.sleep(3)


def _copy_slowly(session: psycopg.Connection[Any]) -> None:
    session.execute("CREATE TEMP TABLE mine (n int)")
    with session.cursor() as cursor, cursor.copy("COPY mine FROM STDIN") as copy:
        for number in range(16):
            copy.write(f"{number}\n" * 20_000)
            time.sleep(0.25)


WORKS: Mapping[str, Callable[[psycopg.Connection[Any]], None]] = {
    "computes in the server": _compute,
    "sends rows, slowly": _copy_slowly,
    "thinks between two statements": _think,
}


@pytest.mark.parametrize("how", WORKS)
def test_an_owner_that_works_is_waited_for(poster_url: str, database_url: str, how: str) -> None:
    _let_lock(database_url)
    owner, other = (connect(poster_url, application_name="finance-poster") for _ in range(2))
    with owner.transaction():
        owner.execute("SELECT pg_advisory_xact_lock(1)")
        waiting = threading.Thread(target=lambda: other.execute("SELECT pg_advisory_lock(1)"))
        waiting.start()
        WORKS[how](owner)
        owner.execute("SELECT 1")
    waiting.join(300)
    assert not waiting.is_alive()
