"""A Postgres to restore into, beside the ledger: of the development packages, or a server that is named.

Guarantees: a drill makes databases of its own, under new names, and drops them at the end, whatever happened; those of
a drill that was killed are dropped by the next (`finance.recovery.drill.leftovers`); no database that was there is
opened for writing. A server that was started here ends with its data.
Does not: restore a cluster (`finance.recovery.backup.serve` starts those).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from psycopg import sql

from finance.recovery.drill.leftovers import drop, holding, server_name, sweep_server
from finance.recovery.drill.live import APPLICATION
from finance.runtime.workshop_door import ScratchPostgres, open_workshop
from finance.settings.deployment import STATE_FOLDER
from ledger_core.errors import Refused
from ledger_core.postgres.session import session


@contextmanager
def scratch_server(into: str | None, drill_id: str, tell: Callable[[str], None], *, secure: bool) -> Iterator[str]:
    """The address of a server on which databases may be made. Raises Refused, Unavailable.

    `secure`: the ledger is met by mutual TLS, and so is a server that is started here for its entries.
    """
    if into is not None:
        if urlsplit(into).scheme not in ("postgresql", "postgres"):
            raise Refused(
                "--into (DRILL_DATABASE_URL) is not an address",
                remedy="name a scratch server: postgresql://owner@host/postgres",
            )
        for name in sweep_server(into):
            tell(f"database {name}, left by a drill that was killed: dropped")
        yield into
        return
    server = _server_of(drill_id)
    try:
        yield server.start(secure=secure)
    finally:
        server.remove()


def _server_of(drill_id: str) -> ScratchPostgres:
    try:
        return open_workshop().scratch_postgres(server_name(drill_id), Path(STATE_FOLDER))
    except Refused as error:
        raise Refused(
            f"there is no Postgres to restore into: {error.message}",
            remedy="name a scratch server with DRILL_DATABASE_URL (postgresql://owner@host/postgres): a role that may "
            f"create databases and roles; nothing that is there is touched. For development: {error.remedy}",
        ) from error


@contextmanager
def scratch_database(server: str, name: str) -> Iterator[str]:
    """The address of a new, empty database, dropped at the end."""
    with holding(server, name):
        with session(server, application_name=APPLICATION) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        finally:
            with session(server, application_name=APPLICATION) as connection:
                drop(connection, name)
