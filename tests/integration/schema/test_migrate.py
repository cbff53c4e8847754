"""Migrations run once, in order, each whole, however many runners there are; and never twice in two versions."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator

import psycopg
import pytest

from finance.workshop.devstack import Stack
from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.posting.control import read_control
from ledger_core.postgres.schema.migrate import Migration, migrate, pending, shipped
from ledger_core.postgres.session import session
from tests.support import databases

ONE = Migration("0001_one.sql", "CREATE TABLE one (x integer);\nINSERT INTO one VALUES (1);")
TWO = Migration("0002_two.sql", "ALTER TABLE one ADD y text DEFAULT '100%';")


@pytest.fixture
def empty_url(stack: Stack) -> Iterator[str]:
    """A database without any table."""
    url = databases.create_database(stack.env["DATABASE_URL"], "template1")
    yield url
    databases.drop_database(stack.env["DATABASE_URL"], url)


def query(url: str, text: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(text).fetchall()


def test_missing_files_are_applied_once_and_in_order(empty_url: str) -> None:
    assert pending(empty_url, [ONE, TWO]) == ["0001_one.sql", "0002_two.sql"]
    assert migrate(empty_url, [ONE]) == ["0001_one.sql"]
    assert migrate(empty_url, [ONE, TWO]) == ["0002_two.sql"]
    assert migrate(empty_url, [ONE, TWO]) == []
    assert pending(empty_url, [ONE, TWO]) == []
    assert query(empty_url, "SELECT x, y FROM one") == [(1, "100%")]


def test_checking_changes_nothing(empty_url: str) -> None:
    pending(empty_url)
    assert query(empty_url, "SELECT to_regclass('schema_migrations')") == [(None,)]


def test_what_is_shipped_applies_whole_and_a_second_time_not_at_all(empty_url: str) -> None:
    names = [migration.name for migration in shipped()]
    assert names == sorted(names)
    assert migrate(empty_url) == names
    assert migrate(empty_url) == []


def test_a_file_that_fails_leaves_nothing_of_itself(empty_url: str) -> None:
    broken = Migration("0002_broken.sql", "CREATE TABLE half (x integer); SELECT 1/0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(empty_url, [ONE, broken])
    assert query(empty_url, "SELECT to_regclass('half'), to_regclass('one') IS NOT NULL") == [(None, True)]
    assert migrate(empty_url, [ONE, TWO]) == ["0002_two.sql"]


def test_a_changed_file_is_refused_and_nothing_runs(empty_url: str) -> None:
    migrate(empty_url, [ONE])
    changed = Migration(ONE.name, ONE.script + " -- a harmless comment")
    for run in (migrate, pending):
        with pytest.raises(Refused, match=r"0001_one.sql changed after it was applied.*new migration"):
            run(empty_url, [changed, TWO])
    assert query(empty_url, "SELECT count(*) FROM schema_migrations") == [(1,)]


def test_a_database_of_a_newer_version_is_refused(empty_url: str) -> None:
    migrate(empty_url, [ONE, TWO])
    with pytest.raises(Refused, match="newer version"):
        migrate(empty_url, [ONE])


def test_a_file_before_those_applied_is_refused(empty_url: str) -> None:
    later = Migration("0002_first.sql", "SELECT 1;")
    migrate(empty_url, [later])
    with pytest.raises(Refused, match=r"0001_one\.sql would run after 0002_first\.sql"):
        migrate(empty_url, [ONE, later])


def test_runners_at_once_are_as_one(empty_url: str) -> None:
    slow = Migration("0001_slow.sql", "SELECT pg_sleep(0.3); CREATE TABLE slow (x integer);")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: migrate(empty_url, [slow]), range(4)))
    assert sorted(results) == [[], [], [], ["0001_slow.sql"]]


def test_a_server_that_is_away_is_unavailable_and_a_wrong_address_refused(stack: Stack) -> None:
    with pytest.raises(Unavailable, match="postgres"):
        migrate("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Refused, match="DATABASE_URL"):
        migrate("nonsense=1")
    with pytest.raises(Refused, match="DATABASE_URL"):
        migrate(databases.database_at(stack.env["DATABASE_URL"], "no_such_database"))


def test_a_role_that_may_not_create_tables_is_refused(database_url: str) -> None:
    poster = databases.role_url(database_url, "finance_poster")
    with pytest.raises(Refused, match="may not"):
        migrate(poster, [*shipped(), Migration("9999_more.sql", "CREATE TABLE more (x integer);")])


def test_a_ledger_that_was_halted_stays_halted_behind_migration_0022(empty_url: str) -> None:
    before = [it for it in shipped() if it.name < "0022"]
    migrate(empty_url, before)
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("UPDATE control SET halted = true, reason = 'off by 1', actor_id = 'operator:a'")
    migrate(empty_url)
    with session(empty_url, application_name="test") as connection:
        now = read_control(connection)
        assert (now.halted, now.reason, now.actor_id) == (True, "off by 1", "operator:a")
        assert connection.execute("SELECT * FROM audit_outbox").fetchall() == []  # its event was left before
