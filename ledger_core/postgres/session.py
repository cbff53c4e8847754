"""Short sessions with Postgres for commands: connect, do, translate failures.

Guarantees: whoever connects is alone in its session, from login to end (`check_own_session`, which each place asks that
opens a connection): locks, limits and what was SET are its own. What a caller meets is Unavailable (the server does not
answer, or turns away), Refused (privileges, a schema that is not migrated, a wrong address, a pooler) with the remedy,
or psycopg's own error for everything unexpected.
Does not: retry. Services that live long bring their own sessions and time-outs.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors, sql

from ledger_core.errors import LockHeld, Refused, Unavailable
from ledger_core.postgres.holders import WORDS

CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_MS = 60_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000
LOCK_TIMEOUT_MS = 10_000
# The server's side: the session of a host that was cut off ends, and gives its locks free.
SERVER_KEEPALIVES = (
    ("tcp_keepalives_idle", 5),
    ("tcp_keepalives_interval", 2),
    ("tcp_keepalives_count", 3),
    ("tcp_user_timeout", 15_000),
)

# Classes of SQLSTATE that pass by themselves: connection, resources, operator intervention, serialization.
# 25P03, 25P04 and 55P03: a transaction that was idle or open, or a lock that waited, too long. 25006: a server that
# takes no writes, as a demoted primary.
UNAVAILABLE_STATES = ("08", "53", "57", "40", "25006", "25P03", "25P04", "55P03")

# libpq names the setting it could not read, and repeats what stood there; where an unencoded at sign of a password made
# its rest a part of the host, it repeats that.
_UNREAD = re.compile(
    r"""invalid (integer value|port number|percent-encoded)|connection info string|(["'])[^"']*@[^"']*\2"""
)

# Who could have been in the way of a lock that waited too long: the oldest transactions that hold one of ours.
_HOLDERS = f"""
SELECT {WORDS}
  FROM pg_stat_activity a
 WHERE a.pid <> pg_backend_pid() AND EXISTS (
       SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        WHERE l.pid = a.pid AND l.granted
          AND (c.relnamespace <> ALL (ARRAY['pg_catalog', 'pg_toast', 'information_schema']::regnamespace[])
               AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
               OR c.oid = 'pg_db_role_setting'::regclass AND l.mode = 'RowExclusiveLock'))
 ORDER BY a.xact_start NULLS LAST, a.pid LIMIT 3
"""
_OWN = """
SELECT pg_backend_pid(),
       coalesce((SELECT json_object_agg(name, setting::int) FROM pg_settings WHERE name = ANY(%s)), '{}')
"""

Session = psycopg.Connection[tuple[Any, ...]]


@contextmanager
def session(
    dsn: str,
    *,
    application_name: str,
    read_only: bool = False,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
) -> Iterator[Session]:
    """One connection in autocommit mode; failures inside the block are translated too. Use `connection.transaction()`
    for what belongs together. Raises Unavailable and Refused as the module says."""
    with translated():
        connection = psycopg.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS, application_name=application_name
        )
        with connection:
            check_own_session(connection)
            connection.read_only = read_only
            for name, value in (
                ("statement_timeout", statement_timeout_ms),
                ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT_MS),
                ("lock_timeout", lock_timeout_ms),
                *SERVER_KEEPALIVES,
            ):
                connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
            try:
                yield connection
            except errors.LockNotAvailable as error:
                raise LockHeld("postgres", f"{_line(error)}; {_holders(connection)}") from error


def _holders(connection: Session) -> str:
    """In words, who could hold it: an operator ends such a session with pg_terminate_backend."""
    held = [str(who) for (who,) in connection.execute(_HOLDERS.encode())]
    return f"locks are held by {', '.join(held)} (RUNBOOK, section 14)" if held else "it was given free meanwhile"


def check_own_session(connection: psycopg.Connection[Any], limits_ms: Mapping[str, int] | None = None) -> None:
    """Raise Refused unless the session that answered the login runs our statements, with the limits we asked for.

    Behind a pooler it is another one: locks of a session (who leads, who migrates) and limits would hold for whoever
    gets that session next, and not for us. The connection must be in autocommit mode; nothing is set before we know.
    """
    pid, found = connection.execute(_OWN, [list(limits_ms or {})]).fetchone() or (None, None)
    if pid != connection.info.backend_pid or found != (limits_ms or {}):
        raise _pooled(f"{connection.info.host}:{connection.info.port}")


def database_clock(connection: psycopg.Connection[Any]) -> dt.datetime:
    """What time it is by the server, UTC."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None  # noqa: S101  # a SELECT without FROM has its row
    moment: dt.datetime = row[0]
    return moment


@contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg's errors into ours where the caller can do something about them. Raises Refused (a missing migration
    or grant, a wrong address) and Unavailable.
    """
    try:
        yield
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction) as error:
        raise Refused(
            f"the database lacks what this version needs ({_line(error)})", remedy="run `finance migrate`"
        ) from error
    except errors.InsufficientPrivilege as error:
        raise Refused(
            f"this database role may not do that ({_line(error)})",
            remedy="connect as the role of this process, see DATABASE_URL_* in docs/CONFIGURATION.md",
        ) from error
    except (errors.InvalidCatalogName, errors.InvalidAuthorizationSpecification) as error:
        raise _bad_address(error) from error
    except psycopg.ProgrammingError as error:
        if error.sqlstate is None:  # the address itself could not be read
            raise _unread_address() from None
        raise
    except errors.LockNotAvailable as error:
        raise LockHeld("postgres", _line(error)) from error
    except (psycopg.OperationalError, psycopg.InternalError) as error:  # 25P03 and its class are internal errors
        if error.sqlstate is None and _UNREAD.search(str(error)):
            raise _unread_address() from None
        raise _operational(error) from error


def _operational(error: psycopg.OperationalError | psycopg.InternalError) -> Exception:
    state = error.sqlstate
    text = str(error)
    if state is None and ("authentication failed" in text or "does not exist" in text):
        return _bad_address(error)  # at connection time libpq gives words and no SQLSTATE
    if "unsupported startup parameter" in text or "statement pooling mode" in text:  # PgBouncer's own words
        return _pooled(_line(error))
    if state is None or state.startswith(UNAVAILABLE_STATES):
        return Unavailable("postgres", _line(error))
    return error


def _pooled(place: str) -> Refused:
    return Refused(
        f"a connection pooler, such as PgBouncer, stands between this process and Postgres ({place})",
        remedy="point DATABASE_URL and DATABASE_URL_* to Postgres itself: no mode of a pooler serves Finance (RUNBOOK, "
        "section 4)",
    )


def _unread_address() -> Refused:
    """libpq repeats what it could not read, which may be a part of the password: so its words are left out."""
    return Refused(
        "an address of Postgres cannot be read",
        remedy="check DATABASE_URL and DATABASE_URL_*: postgresql://user@host:port/database, passwords percent-encoded",
    )


def _bad_address(error: psycopg.Error) -> Refused:
    return Refused(f"Postgres turns this address away ({_line(error)})", remedy="check DATABASE_URL and DATABASE_URL_*")


def _line(error: psycopg.Error) -> str:
    """The message in one line, without the address (which may hold a password)."""
    return " ".join(str(error).split())[:300]
