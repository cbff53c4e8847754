"""How much of the server each role may take: connections, times, and what Postgres gives to everybody.

Guarantees: `set_bounds` sets what its login may set, keeps a limit that an operator chose, and returns as statements
what is left for an administrator; `check_bounds` finds a role without a limit, a server on which the roles' limits
leave no connection for operators, and a default that was put back. Nothing of ours depends on what only a superuser
may revoke (`for_superusers`): that is reported, and no finding.
Does not: keep a role from changing its own time-outs, from NOTIFY, or from long transactions; Postgres has no right for
those. No job of ours waits for what another role can hold (decision 099).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from psycopg import errors, sql

from ledger_core.findings import Collector
from ledger_core.postgres.schema.authority import BACKUP, ROLES
from ledger_core.postgres.session import Session

# Connections at once, of all its processes and commands. What is set by an operator stays; the sum must leave some.
CONNECTIONS: Final[Mapping[str, int]] = {
    "finance_poster": 24,
    "finance_prover": 12,
    "finance_archiver": 8,
    "finance_notary": 6,
    "finance_keeper": 5,
    "finance_projector": 5,
    "finance_reading": 8,
    "finance_api": 12,
    "finance_auditor": 8,
    BACKUP: 6,
}
LOGINS: Final = (*(f"finance_{role}" for role in ROLES), BACKUP)
# What a session begins with that asks for nothing else: somebody's psql. Our own sessions set theirs.
TIMEOUTS: Final[Mapping[str, str]] = {
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "statement_timeout": "15min",
}
TRANSACTION_TIMEOUT: Final = ("transaction_timeout", "1d")  # Postgres 17 and later; the oracle reads one long snapshot
TRANSACTION_TIMEOUT_SINCE: Final = 170000
# Bytes on disk that the sorts of one session may take. Only a superuser sets it, so that no role lifts it for itself.
TEMP_FILES: Final[Mapping[str, str]] = dict.fromkeys(("finance_api", "finance_auditor", "finance_reading"), "20GB")
# What everybody may call by default, and nobody of ours needs: locks and objects that fill the server's own tables.
PUBLIC_FUNCTIONS: Final = "^(pg_(try_)?advisory_|lo_|lo(read|write)$|pg_logical_emit_message$)"

_LIMITS: Final = "SELECT rolname, rolconnlimit FROM pg_roles WHERE rolname = ANY(%s) ORDER BY rolname"
_ROOM: Final = """
SELECT sum(setting::int) FILTER (WHERE name = 'max_connections'),
       sum(setting::int) FILTER (WHERE name IN ('superuser_reserved_connections', 'reserved_connections')),
       sum(setting::int) FILTER (WHERE name = 'max_prepared_transactions')
  FROM pg_settings"""
_SETTINGS: Final = """
SELECT r.rolname, split_part(setting, '=', 1), split_part(setting, '=', 2)
  FROM pg_roles r JOIN pg_db_role_setting s ON s.setrole = r.oid, unnest(s.setconfig) AS setting
 WHERE r.rolname = ANY(%s) AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"""
_TEMPORARY: Final = """
SELECT EXISTS (SELECT FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS x
                WHERE d.datname = current_database() AND x.grantee = 0 AND x.privilege_type = 'TEMPORARY')"""
_FUNCTIONS: Final = """
SELECT p.oid::regprocedure::text FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS x
 WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname ~ %s AND x.grantee = 0 ORDER BY 1"""


def set_bounds(connection: Session) -> list[str]:
    """Set every bound that this login may set; the statements that it may not, for an administrator. Harmless when it
    is called again. Raises psycopg's errors."""
    for statement in [*_wanted(connection), *for_superusers(connection)]:
        with suppress(errors.InsufficientPrivilege, errors.InternalError_):  # ... or another login sets it just now
            connection.execute(statement.encode())
    return [*_wanted(connection), *for_superusers(connection)]


def check_bounds(connection: Session, found: Collector) -> None:
    """Each bound that is missing, as a finding `bounds.<what>` with its remedy. Any role may ask."""
    for statement in _wanted(connection):
        message = f"what one role may take is not bounded: as an administrator, run {statement}"
        found.add(_code(statement), message, place=_place(statement))
    limits = {name: limit for name, limit in connection.execute(_LIMITS.encode(), [list(LOGINS)]) if limit >= 0}
    ((connections, reserved, prepared),) = connection.execute(_ROOM.encode()).fetchall()
    if sum(limits.values()) > connections - reserved:
        found.add(
            "bounds.connections",
            f"the roles may take {sum(limits.values())} connections, and the server has {connections - reserved}: none "
            "is left for operators; raise max_connections, or lower a limit (ALTER ROLE ... CONNECTION LIMIT)",
            place="max_connections",
        )
    if prepared:
        found.add(
            "bounds.prepared",
            "a role can leave a prepared transaction behind, which keeps its locks for ever; set "
            "max_prepared_transactions = 0",
            place="max_prepared_transactions",
        )


def for_superusers(connection: Session) -> list[str]:
    """What only a superuser may set or revoke, and did not: with it any role can fill the server's table of locks, and
    its disk. On managed Postgres it stays so; end such a session, and shut its role out."""
    names = [name for (name,) in connection.execute(_FUNCTIONS.encode(), [PUBLIC_FUNCTIONS])]
    settings = _settings(connection)
    return [
        *(f"REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC" for name in names),
        *(
            f"ALTER ROLE {role} SET temp_file_limit = '{value}'"
            for role, value in TEMP_FILES.items()
            if (role, "temp_file_limit") not in settings
        ),
    ]


def _wanted(connection: Session) -> Iterator[str]:
    """The statements that would bound what is not bounded."""
    settings = _settings(connection)
    timeouts = dict(TIMEOUTS)
    if connection.info.server_version >= TRANSACTION_TIMEOUT_SINCE:
        timeouts.update([TRANSACTION_TIMEOUT])
    for role, limit in connection.execute(_LIMITS.encode(), [list(LOGINS)]).fetchall():
        if limit < 0:
            yield f"ALTER ROLE {role} CONNECTION LIMIT {CONNECTIONS[role]}"
        if role == BACKUP:
            continue  # a base backup is one statement of hours
        for name, value in timeouts.items():
            if settings.get((role, name), "0").strip("0") in ("", "ms", "s", "min", "h", "d"):
                yield f"ALTER ROLE {role} SET {name} = '{value}'"
    if connection.execute(_TEMPORARY.encode()).fetchone() == (True,):
        name = connection.info.dbname
        yield sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)).as_string(connection)


def _settings(connection: Session) -> dict[tuple[str, str], str]:
    """What sessions of our roles begin with: (role, setting) -> value."""
    return {(role, name): value for role, name, value in connection.execute(_SETTINGS.encode(), [list(LOGINS)])}


def _code(statement: str) -> str:
    if "CONNECTION LIMIT" in statement:
        return "bounds.connections"
    return "bounds.timeout" if " SET " in statement else "bounds.public"


def _place(statement: str) -> str:
    return statement.split()[2] if statement.startswith("ALTER ROLE") else "database"
