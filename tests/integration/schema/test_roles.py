"""Each database role may do what its process needs, and nothing else; whatever else it tries is refused by Postgres."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from ledger_core.errors import Refused
from ledger_core.postgres.schema.authority import BACKUP, MATRIX, OWNER, ROLES, granted
from ledger_core.postgres.schema.deployment import bind_deployment, read_deployment
from ledger_core.postgres.schema.guard import actual_grants, check_schema
from ledger_core.postgres.session import session
from tests.support.databases import role_url
from tests.support.forbidden_acts import ATTACKS, MISTAKES, NOBODY, TAMPERING
from tests.support.schema_file import PATH, text_of

DENIED: Final = "42501"  # insufficient_privilege: by grant, by policy or by an append-only trigger
ALONE: Final = ("CREATE DATABASE", "ALTER SYSTEM")  # what Postgres runs outside a transaction only
PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")


@pytest.fixture
def url(database_url: str) -> str:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO shards VALUES (0, 't', 0, 0, 0, NULL, 0, 0, 0, 0, 0)")
        connection.execute("INSERT INTO deployment (env, domain) VALUES ('dev', 'example.com')")
    return database_url


def refusals(url: str, role: str, statements: tuple[str, ...] | list[str]) -> dict[str, str]:
    """What became of each statement, tried as `role` and always rolled back: its SQLSTATE, or `done`."""
    results = {}
    with psycopg.connect(role_url(url, role), autocommit=True) as connection:
        for statement in statements:
            try:
                if statement.startswith(ALONE):
                    connection.execute(statement.encode())
                else:
                    with connection.transaction(force_rollback=True):
                        connection.execute(statement.encode())
                results[statement] = "done"
            except psycopg.Error as error:
                results[statement] = str(error.sqlstate)
    return results


def attempt(table: str, privilege: str, column: str) -> str:
    return {
        "SELECT": f"SELECT count({column or '*'}) FROM {table}",
        "INSERT": f"INSERT INTO {table} ({column}) VALUES (DEFAULT)"
        if column
        else f"INSERT INTO {table} DEFAULT VALUES",
        "UPDATE": f"UPDATE {table} SET {column} = {column}",
        "DELETE": f"DELETE FROM {table}",
        "TRUNCATE": f"TRUNCATE {table} CASCADE",
    }[privilege]


@pytest.mark.parametrize("role", ROLES)
def test_what_nobody_may_do_is_refused_to_every_role(url: str, role: str) -> None:
    outcome = refusals(url, f"finance_{role}", NOBODY)
    assert {text: state for text, state in outcome.items() if state != DENIED} == {}


@pytest.mark.parametrize("role", ROLES)
def test_attacks_of_one_role_on_the_work_of_another_are_refused(url: str, role: str) -> None:
    outcome = refusals(url, f"finance_{role}", ATTACKS[role])
    assert {text: state for text, state in outcome.items() if state != DENIED} == {}


def test_mistakes_of_the_owner_are_refused_by_triggers(url: str) -> None:
    outcome = refusals(url, OWNER, MISTAKES)
    assert {text: state for text, state in outcome.items() if state != DENIED} == {}


def test_at_least_sixty_different_acts_are_tried() -> None:
    attacks = sum(map(len, ATTACKS.values()))
    assert len(NOBODY) * len(ROLES) + attacks + len(MISTAKES) > 300
    assert attacks >= 55


@pytest.mark.parametrize("role", ROLES)
def test_every_cell_of_the_matrix_is_as_it_says(url: str, role: str) -> None:
    """Granted: whatever fails, it is not for want of the privilege. Not granted: refused."""
    held = {(table, privilege) for table, name, privilege in granted() if name == f"finance_{role}"}
    with psycopg.connect(url) as connection:
        columns: dict[str, list[str]] = {}
        for table, column in connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        ):
            columns.setdefault(table, []).append(column)
    wrong = []
    for table in MATRIX:
        for privilege in PRIVILEGES:
            by_column = privilege == "UPDATE" or any(
                cell.startswith(f"{privilege}(") for at, cell in held if at == table
            )
            for column in columns[table] if by_column else [""]:
                cell = f"{privilege}({column})" if column else privilege
                may = (table, cell) in held
                statement = attempt(table, privilege, column)
                state = refusals(url, f"finance_{role}", [statement])[statement]
                # A row that a policy turns away was let in by the grant; the text of the two refusals differs.
                if may and state == DENIED and table not in ("audit_outbox", "proofs", "halts", "halts_lifted"):
                    wrong.append(f"{statement}: refused")
                if not may and state not in (DENIED, "428C9"):
                    wrong.append(f"{statement}: {state}")
    assert wrong == []


def test_every_table_role_and_grant_of_the_database_was_decided(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        tables = {row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        roles = {
            row[0] for row in connection.execute("SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'finance_')")
        }
        grants = actual_grants(connection)
    assert tables == set(MATRIX), "decide in ledger_core/postgres/schema/authority.py who may do what"
    assert roles - {BACKUP} == {OWNER, *(f"finance_{role}" for role in ROLES)}
    assert BACKUP not in {role for _, role, _ in grants}
    assert grants - granted() == set(), "granted, and not in the matrix"
    assert granted() - grants == set(), "in the matrix, and not granted"


def test_the_schema_file_is_what_migrations_make(database_url: str) -> None:
    remedy = "look at the difference, then `python -m tests.support.schema_file --stack NAME`"
    assert PATH.read_text("utf-8") == text_of(database_url), remedy
    assert Path("ledger_core/postgres/schema/schema.txt") == PATH.relative_to(PATH.parents[3])


def findings_after(url: str, *statements: str) -> list[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    with psycopg.connect(role_url(url, "finance_auditor")) as connection:
        return [str(found) for found in check_schema(connection).findings]


@pytest.mark.parametrize(
    ("statement", "code", "said"), TAMPERING, ids=[statement[:50] for statement, _, _ in TAMPERING]
)
def test_a_superusers_change_of_a_guard_is_reported(database_url: str, statement: str, code: str, said: str) -> None:
    found = findings_after(database_url, statement)
    assert any(line.startswith(code) and said in line for line in found), found


def test_triggers_switched_off_for_a_database_are_reported(database_url: str) -> None:
    name = urlsplit(database_url).path.lstrip("/")
    found = findings_after(database_url, f"ALTER DATABASE {name} SET session_replication_role = replica")
    assert any("session_replication_role=replica" in line for line in found), found


def test_a_sound_database_has_no_finding(database_url: str) -> None:
    with psycopg.connect(role_url(database_url, "finance_auditor")) as connection:
        report = check_schema(connection)
    assert report.findings == ()
    assert report.counts["guards"] > 250
    assert report.counts["grants"] == len(granted())


def test_later_migrations_belong_to_the_owner_whoever_runs_them(database_url: str) -> None:
    from ledger_core.postgres.schema.migrate import Migration, migrate, shipped

    more = [
        Migration("9998_a.sql", "CREATE TABLE made (x integer);"),
        Migration("9999_b.sql", "ALTER TABLE made ADD y int;"),
    ]
    assert migrate(database_url, [*shipped(), more[0]]) == ["9998_a.sql"]  # a superuser
    assert migrate(role_url(database_url, OWNER), [*shipped(), *more]) == ["9999_b.sql"]  # the migrator itself
    with psycopg.connect(database_url) as connection:
        row: Any = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'made'").fetchone()
    assert row == (OWNER,)


def test_a_new_database_is_migrated_by_an_owner_who_may_create_roles_and_is_no_superuser(database_url: str) -> None:
    """As managed Postgres gives it: an administrator with CREATEROLE who owns the database."""
    from ledger_core.postgres.schema.migrate import migrate, pending
    from tests.support.databases import database_at, drop_database

    name, database = "finance_owner", "test_owned_" + urlsplit(database_url).path.rpartition("_")[2]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(sql.Identifier(name)))
        for role in (OWNER, *(f"finance_{role}" for role in ROLES)):  # here they exist: it would have made them itself
            connection.execute(
                sql.SQL("GRANT {} TO {} WITH ADMIN TRUE").format(sql.Identifier(role), sql.Identifier(name))
            )
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(name))
        )
    own = database_at(database_url, database)
    try:
        migrate(role_url(own, name))
        assert pending(role_url(own, OWNER)) == []
        with psycopg.connect(role_url(own, "finance_auditor")) as connection:
            assert check_schema(connection).findings == ()
    finally:
        drop_database(database_url, own)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_a_database_belongs_to_one_environment_for_ever(database_url: str) -> None:
    with session(role_url(database_url, OWNER), application_name="test") as connection:
        assert read_deployment(connection) is None
        assert bind_deployment(connection, "staging", "a.example")
        assert not bind_deployment(connection, "staging", "a.example")
        for other in (("production", "a.example"), ("staging", "b.example")):
            with pytest.raises(Refused, match="belongs to"):
                bind_deployment(connection, *other)
    with session(role_url(database_url, "finance_poster"), application_name="test") as connection:
        assert read_deployment(connection) == ("staging", "a.example")
