"""Bringing a database to the schema of this version: every file of migrations/ once, in order.

Guarantees: each file runs in one transaction together with its record in `schema_migrations`; two runners at once are
the same as one (the lock of the record's own table); a file that was applied and changed since is Refused, and so is a
database that knows files this version does not. Then each role is bounded, as far as this login may (`bounds`).
Does not: go back. A mistake is mended by the next file; what was posted is never touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from psycopg import IsolationLevel, errors, sql

from ledger_core.errors import Refused
from ledger_core.postgres.schema.bounds import set_bounds
from ledger_core.postgres.session import Session, session

SERVER_VERSION_MIN = 160000
RUNNERS_MAX = 10  # that make the record at the same moment
MIGRATION_TIMEOUT_MS = 0  # a migration of a large table takes as long as it takes
# ... and waits for a lock no longer than this: whoever comes behind one that waits waits too, also who posts.
LOCK_TIMEOUT_MS = 10_000
LOCK_RUNNERS = "LOCK TABLE schema_migrations IN SHARE ROW EXCLUSIVE MODE"  # nobody but its owner may

CREATE_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text PRIMARY KEY,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name, its text, and the SHA-256 (lower-case hex) by which a later change is noticed."""

    name: str  # file name without .sql; the order of application
    script: str  # SQL text

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.script.encode()).hexdigest()


def shipped() -> list[Migration]:
    """The migrations of this version, in order of application (that of their names)."""
    folder = resources.files("ledger_core.postgres.schema") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [Migration(f.name, f.read_text(encoding="utf-8")) for f in files]


def migrate(dsn: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is missing and return the names applied, oldest first (empty: nothing was missing).

    `dsn` must name the owner of the schema, never a process of the service: at first a role that may create roles, and
    after migration 0012 finance_migrator, which owns everything and may do nothing else.
    Raises Refused and Unavailable; a script that fails raises psycopg.Error and leaves the files before it applied.
    """
    files = shipped() if migrations is None else list(migrations)
    applied: list[str] = []
    with session(
        dsn, application_name="finance migrate", statement_timeout_ms=MIGRATION_TIMEOUT_MS, lock_timeout_ms=0
    ) as connection:
        _check_server(connection)
        connection.isolation_level = IsolationLevel.READ_COMMITTED  # what another runner recorded is seen
        _create_record(connection)
        while (name := _apply_next(connection, files)) is not None:
            applied.append(name)
        # A role may leave an ALTER ROLE of its own settings open: it is named then, and not waited for.
        connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}".encode())
        set_bounds(connection)
    return applied


def _create_record(connection: Session) -> None:
    for _ in range(RUNNERS_MAX):
        try:
            connection.execute(CREATE_RECORD)
            return
        except (errors.UniqueViolation, errors.DuplicateTable, errors.DuplicateObject):
            continue  # another runner made it at the same moment


def _apply_next(connection: Session, files: Sequence[Migration]) -> str | None:
    """Apply the first file that is missing, alone among the runners; None when none is."""
    with connection.transaction():
        _as_owner(connection)
        connection.execute(LOCK_RUNNERS)  # gone with the transaction, however it ends
        missing = _missing(files, _recorded(connection))
        if not missing:
            return None
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(LOCK_TIMEOUT_MS))
        connection.execute(sql.SQL(missing[0].script))
        connection.execute(
            "INSERT INTO schema_migrations (name, sha256) VALUES (%s, %s)", (missing[0].name, missing[0].sha256)
        )
    return missing[0].name


def pending(dsn: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """The names `migrate` would apply. Changes nothing. Raises as `migrate`."""
    files = shipped() if migrations is None else list(migrations)
    with session(dsn, application_name="finance migrate --check", read_only=True) as connection:
        _check_server(connection)
        row = connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL").fetchone()
        recorded = _recorded(connection) if row is not None and row[0] else {}
        return [migration.name for migration in _missing(files, recorded)]


def _check_server(connection: Session) -> None:
    version = connection.info.server_version
    if version < SERVER_VERSION_MIN:
        raise Refused(f"Postgres {version // 10000} is too old", remedy="use Postgres 16 or later")


def _as_owner(connection: Session) -> None:
    """Let what the file makes belong to the schema's owner, whoever logged in (until the end of the transaction)."""
    row = connection.execute(
        "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'schema_migrations'::regclass "
        "AND pg_get_userbyid(relowner) <> current_user"
    ).fetchone()
    if row is not None:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(row[0])))


def _recorded(connection: Session) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sha256 FROM schema_migrations").fetchall())


def _missing(files: Sequence[Migration], recorded: dict[str, str]) -> list[Migration]:
    """What is not recorded yet. Refuses a record that does not fit the files: guards refuse, they do not repair."""
    known = {migration.name: migration.sha256 for migration in files}
    unknown = sorted(set(recorded) - set(known))
    if unknown:
        raise Refused(
            f"the database was migrated by a newer version ({', '.join(unknown)})",
            remedy="run that version, or restore the database that belongs to this one",
        )
    for name, sha256 in sorted(recorded.items()):
        if known[name] != sha256:
            raise Refused(
                f"{name} changed after it was applied",
                remedy="restore the file as it was and put the change into a new migration",
            )
    missing = [migration for migration in files if migration.name not in recorded]
    newest = max(recorded, default="")
    late = [migration.name for migration in missing if migration.name < newest]
    if late:
        raise Refused(
            f"{', '.join(late)} would run after {newest}", remedy="give the new migration a number above those applied"
        )
    return missing
