"""No database role starves the others: table of roles by acts that would take what all of them need.

What Postgres gives to everybody is revoked, what it cannot revoke no job of ours depends on, and the rest has a limit.
"""

from __future__ import annotations

import concurrent.futures
import threading
from contextlib import ExitStack
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest

from ledger_core.errors import LockHeld, Refused
from ledger_core.postgres.connection import connect
from ledger_core.postgres.jobs import holder, take
from ledger_core.postgres.schema.authority import MATRIX, OWNER, ROLES, granted
from ledger_core.postgres.schema.bounds import CONNECTIONS, LOGINS, TIMEOUTS, for_superusers
from ledger_core.postgres.schema.guard import check_schema
from ledger_core.postgres.schema.migrate import Migration, migrate, shipped
from ledger_core.postgres.session import session
from tests.support.databases import role_url

pytestmark = pytest.mark.services

DENIED: Final = "42501"
ACTS: Final[dict[str, str]] = {
    "an advisory lock": "SELECT pg_advisory_lock(1)",
    "a shared one": "SELECT pg_advisory_lock_shared(1)",
    "one of a transaction": "SELECT pg_advisory_xact_lock(1, 2)",
    "one without waiting": "SELECT pg_try_advisory_lock(1)",
    "a million of them": "SELECT pg_try_advisory_xact_lock_shared(g) FROM generate_series(1, 1000000) g",
    "a temporary table": "CREATE TEMP TABLE mine (x integer)",
    "a large object": "SELECT lo_create(0)",
    "bytes in one": "SELECT lo_from_bytea(0, 'x')",
    "WAL without a row": "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000))",
    "disk for its sorts": "SET temp_file_limit = -1",
    "its own limit of connections": "ALTER ROLE CURRENT_USER CONNECTION LIMIT -1",
    "another's time-outs": "ALTER ROLE finance_migrator SET statement_timeout = 1",
    "another's session": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    "the lock of first verdicts": "LOCK TABLE first_verdicts IN ROW SHARE MODE",
}
# Only these may lock rows, each what is its own.
ROW_LOCKS: Final = {
    ("poster", "shards"),
    ("poster", "balances"),
    ("prover", "live_checkpoints"),
    ("prover", "tile_edges"),
    ("notary", "notary_cursor"),
    ("notary", "job_holders"),
    ("api", "job_holders"),
    ("keeper", "personal_cursors"),
    ("keeper", "personal_data"),
}
EXECUTES: Final = {
    "lock_first_verdicts(true)": "poster",
    "take_intents('{}')": "notary",
    "lock_payable('seller', 'USD')": "api",  # of one payee: other payouts of his wait, and nothing else
}
STRONG: Final = ("SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE")


def state(url: str, role: str, statement: str) -> str:
    """What became of a statement, tried as the role and rolled back: its SQLSTATE, or `done`."""
    with psycopg.connect(role_url(url, f"finance_{role}"), autocommit=True) as connection:
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(statement.encode())
        except psycopg.Error as error:
            return str(error.sqlstate)
    return "done"


@pytest.mark.parametrize("role", ROLES)
def test_no_role_takes_what_all_need(database_url: str, role: str) -> None:
    outcome = {what: state(database_url, role, statement) for what, statement in ACTS.items()}
    assert {what: it for what, it in outcome.items() if it != DENIED} == {}


@pytest.mark.parametrize("role", ROLES)
def test_no_role_locks_a_table_against_another(database_url: str, role: str) -> None:
    """A lock that conflicts with reading, or with writing rows, is nobody's: not even of the role that writes there."""
    taken = [
        f"{table} IN {mode} MODE"
        for table in MATRIX
        for mode in STRONG
        if state(database_url, role, f"LOCK TABLE {table} IN {mode} MODE NOWAIT") != DENIED
    ]
    assert taken == []


def test_rows_are_locked_only_by_whom_they_belong_to(database_url: str) -> None:
    rows = {
        (role, table)
        for role in ROLES
        for table in MATRIX
        if state(database_url, role, f"SELECT 1 FROM {table} FOR KEY SHARE NOWAIT") != DENIED
    }
    assert rows == ROW_LOCKS
    for call, owner in EXECUTES.items():
        assert [role for role in ROLES if state(database_url, role, f"SELECT {call}") != DENIED] == [owner]


def test_a_job_is_taken_by_its_own_role_alone(database_url: str) -> None:
    notary, other = (connect(role_url(database_url, "finance_notary"), application_name="test") for _ in range(2))
    with session(role_url(database_url, "finance_api"), application_name="test") as api:
        for job, at in (("notary", api), ("signers", notary)):
            assert at.execute("SELECT 1 FROM job_holders WHERE job = %s FOR UPDATE", [job]).fetchall() == []
            with pytest.raises(Refused, match=f"the job {job} is not"):
                take(at, job)  # type: ignore[arg-type]
        assert take(notary, "notary")
        assert take(notary, "notary"), "it has it already"
        assert take(api, "signers")
    assert not take(other, "notary")
    assert holder(other, "notary") == notary.info.backend_pid
    notary.close()
    with psycopg.connect(database_url, autocommit=True) as owner:  # what a dead session leaves behind keeps nobody out
        owner.execute("UPDATE job_holders SET pid = pg_backend_pid()")
        assert take(other, "notary")
    other.close()


def test_of_many_that_want_a_job_one_gets_it(database_url: str) -> None:
    def race(connection: psycopg.Connection[Any]) -> bool:
        gate.wait()
        return take(connection, "notary")

    for _ in range(20):
        racing = [connect(role_url(database_url, "finance_notary"), application_name="test") for _ in range(4)]
        gate = threading.Barrier(len(racing))
        with concurrent.futures.ThreadPoolExecutor(len(racing)) as pool:
            assert sorted(pool.map(race, racing)) == [False, False, False, True]
        for connection in racing:
            connection.close()


def test_no_role_leaves_a_transaction_behind(database_url: str) -> None:
    with psycopg.connect(role_url(database_url, "finance_auditor")) as connection:
        connection.execute("TABLE shards")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="prepared transactions are disabled"):
            connection.execute("PREPARE TRANSACTION 'mine'")


@pytest.mark.parametrize("login", [f"finance_{role}" for role in ROLES])
def test_a_role_that_takes_all_its_connections_leaves_the_others_theirs(database_url: str, login: str) -> None:
    with ExitStack() as stack:
        for _ in range(CONNECTIONS[login]):
            stack.enter_context(psycopg.connect(role_url(database_url, login)))
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            psycopg.connect(role_url(database_url, login))
        for other in CONNECTIONS:
            if other != login:
                stack.enter_context(psycopg.connect(role_url(database_url, other)))


def test_a_session_that_asks_for_nothing_has_time_outs(database_url: str) -> None:
    for role in ROLES:
        with psycopg.connect(role_url(database_url, f"finance_{role}")) as connection:
            for name, value in {**TIMEOUTS, "transaction_timeout": "1d"}.items():
                assert connection.execute("SELECT current_setting(%s)", [name]).fetchone() == (
                    {"60s": "1min"}.get(value, value),
                ), (role, name)


LOOSENED: Final = (
    *(
        (
            f"ALTER ROLE {login} CONNECTION LIMIT -1",
            "bounds.connections",
            f"{login} CONNECTION LIMIT {CONNECTIONS[login]}",
        )
        for login in LOGINS
    ),
    ("ALTER ROLE finance_auditor CONNECTION LIMIT 90", "bounds.connections", "none is left for operators"),
    *(
        (f"ALTER ROLE finance_auditor {how}", "bounds.timeout", f"ALTER ROLE finance_auditor SET {name} = '{value}'")
        for name, value in TIMEOUTS.items()
        for how in (f"RESET {name}", f"SET {name} = 0")
    ),
    ("GRANT TEMP ON DATABASE {} TO PUBLIC", "bounds.public", "REVOKE TEMPORARY ON DATABASE"),
    ("GRANT EXECUTE ON FUNCTION lock_first_verdicts(boolean) TO PUBLIC", "schema.unexpected", ",PUBLIC"),
    ("REVOKE EXECUTE ON FUNCTION take_intents(bigint[]) FROM finance_notary", "schema.missing", "by finance_notary"),
    (
        "GRANT SELECT ON first_verdicts TO finance_api",
        "schema.grant_too_wide",
        "finance_api has SELECT on first_verdicts",
    ),
)


@pytest.mark.parametrize(("statement", "code", "said"), LOOSENED, ids=[statement for statement, _, _ in LOOSENED])
def test_a_bound_that_was_loosened_is_found_with_its_remedy(
    database_url: str, statement: str, code: str, said: str
) -> None:
    with psycopg.connect(database_url) as connection:  # roles are the server's: rolled back
        connection.execute(statement.format(urlsplit(database_url).path.lstrip("/")).encode())
        found = [str(finding) for finding in check_schema(connection).findings]
        connection.rollback()
    assert any(line.startswith(code) and said in line for line in found), found


def test_what_only_a_superuser_revokes_is_told_and_is_no_finding(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert for_superusers(connection) == []
        connection.execute("GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO PUBLIC")
        assert check_schema(connection).findings == ()
        connection.execute("ALTER ROLE finance_auditor RESET temp_file_limit")
        assert check_schema(connection).findings == ()
        disk = "ALTER ROLE finance_auditor SET temp_file_limit = '20GB'"
        assert for_superusers(connection) == ["REVOKE EXECUTE ON FUNCTION pg_advisory_lock(bigint) FROM PUBLIC", disk]
        connection.rollback()


def test_every_login_has_a_decision_and_together_they_leave_some_for_operators() -> None:
    assert set(CONNECTIONS) == set(LOGINS) == {f"finance_{role}" for role in (*ROLES, "backup")}
    assert sum(CONNECTIONS.values()) <= 97 - 3, "Postgres's default of 100, less those reserved"
    assert {role for _, role, _ in granted()} <= set(LOGINS)


def test_a_migration_that_waits_behind_a_reader_gives_up_and_names_it(database_url: str) -> None:
    """It would stop everybody else for as long as the reader stays: they queue behind the lock that it wants."""
    more = Migration("9999_more.sql", "ALTER TABLE shards ADD more integer")
    with psycopg.connect(role_url(database_url, "finance_auditor"), application_name="reads long") as reader:
        reader.execute("TABLE shards")
        with pytest.raises(LockHeld, match=f"session {reader.info.backend_pid} of finance_auditor \\(reads long\\)"):
            migrate(role_url(database_url, OWNER), [*shipped(), more])
    assert migrate(role_url(database_url, OWNER), [*shipped(), more]) == ["9999_more.sql"]


@pytest.mark.parametrize("role", ROLES)
def test_a_migration_waits_for_no_role_that_leaves_its_own_settings_open(database_url: str, role: str) -> None:
    """What a role sets for itself it may leave uncommitted for ever: the migration names it after ten seconds."""
    with psycopg.connect(role_url(database_url, f"finance_{role}"), autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER RESET lock_timeout")
        with psycopg.connect(role_url(database_url, f"finance_{role}")) as held:
            held.execute("ALTER ROLE CURRENT_USER SET work_mem = '8MB'")
            with pytest.raises(LockHeld, match=f"of finance_{role}"):
                migrate(database_url)
            held.rollback()
    migrate(database_url)
