"""Fresh, migrated databases: made from one template per server, so that each test pays for a copy only."""

from __future__ import annotations

import hashlib
import uuid
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from ledger_core.postgres.schema.bounds import set_bounds
from ledger_core.postgres.schema.migrate import migrate, shipped


def role_url(database_url: str, role: str) -> str:
    """The same database through a login role of migration 0005, e.g. `finance_poster`."""
    parts = urlsplit(database_url)
    own = parts.query.replace("/admin/tls.", f"/{role.removeprefix('finance_')}/tls.")  # of a secure stack
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}", query=own))


def database_at(server_url: str, name: str) -> str:
    """Another database of the same server."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


def ensure_template(server_url: str) -> str:
    """A database that holds the migrations of this checkout; its name is their digest, so it is never outdated."""
    digest = hashlib.sha256("".join(migration.sha256 for migration in shipped()).encode()).hexdigest()[:12]
    name = f"template_{digest}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('template'))")  # several test runs, one stack
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s AND datistemplate", [name]).fetchone():
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            migrate(database_at(server_url, name))
            connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(sql.Identifier(name)))
    return name


def create_database(server_url: str, template: str) -> str:
    """A fresh copy of the template; its superuser DSN."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    # FILE_COPY would checkpoint twice; WAL_LOG (the default) copies a small database in a tenth of a second.
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    url = database_at(server_url, name)
    if template not in ("template0", "template1"):
        with psycopg.connect(url, autocommit=True) as connection:
            set_bounds(connection)  # the grants of a database are not copied from its template
    return url


def drop_database(server_url: str, database_url: str) -> None:
    name = urlsplit(database_url).path.lstrip("/")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
