"""Where projections stand: two schemas, of which one is asked, and what is kept beside both.

Guarantees: a projection is asked only in the version that this release knows; the switch is one row, so no answer mixes
two. What is built stands in the other schema, and nobody asks it. Each has a number of its own: who writes holds it for
the transaction (`hold`), so nothing is written to one that was replaced. A database is bound to one environment.
Does not: make the schemas: a migration does, or who sets up a database for them (RUNBOOK, section 18).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import errors, sql

from ledger_core.errors import Refused, TakenOver
from ledger_core.postgres.session import translated

VERSION: Final = 1  # of projection.sql; a change of it is a rebuild
PLACES: Final = ("reading_1", "reading_2")
MAKERS_MAX: Final = 10  # that make what is kept at the same moment

KEPT: Final = """
CREATE TABLE IF NOT EXISTS reading.belongs (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    env       text NOT NULL,
    domain    text NOT NULL,
    prefix    text NOT NULL                 -- of its topics
);
CREATE TABLE IF NOT EXISTS reading.projections (
    place    text PRIMARY KEY,              -- the schema
    number   bigint  GENERATED ALWAYS AS IDENTITY UNIQUE, -- of the projection, over all that there ever were
    version  integer NOT NULL,              -- of its tables
    asked    boolean NOT NULL,              -- by whoever has a question
    building boolean NOT NULL,              -- by a rebuild, which will let it be asked
    made_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX IF NOT EXISTS projections_asked ON reading.projections (asked) WHERE asked;
CREATE TABLE IF NOT EXISTS reading.kept_times (
    shard    integer NOT NULL,
    seq      bigint  NOT NULL,
    why      text    NOT NULL CHECK (why IN ('ahead', 'closed')),
    known_us bigint  NOT NULL,              -- microseconds since 1970 (ledger_core.reading.known)
    PRIMARY KEY (shard, seq, why)
)"""
ASKING: Final = "finance_reading"
LOCK: Final = "LOCK TABLE reading.projections IN SHARE ROW EXCLUSIVE MODE"
HOLD: Final = "SELECT FROM reading.projections WHERE place = %s AND number = %s AND (asked OR building) FOR SHARE"
COLUMNS: Final = "place, number, version, asked, building"
REMEDY: Final = "run `finance projection rebuild`"
SETUP: Final = "run `finance migrate`; a database of the read side's own is set up as RUNBOOK, section 18, says"


class Projection(NamedTuple):
    """A projection, built or being built."""

    place: str  # its schema
    number: int  # over all that there ever were, from 1
    version: int  # of its tables
    asked: bool  # whether questions go there
    building: bool  # whether a rebuild fills it


@contextmanager
def _in_place() -> Iterator[None]:
    """Raises Refused where the schemas are missing, and as `translated`."""
    with translated():
        try:
            yield
        except errors.InvalidSchemaName as error:
            raise Refused("this database has no schemas for the read side", remedy=SETUP) from error


@contextmanager
def standing() -> Iterator[None]:
    """As `translated`; raises TakenOver where the tables of a projection are gone: another one was switched to."""
    with translated():
        try:
            yield
        except errors.UndefinedTable as error:
            raise TakenOver("postgres", "the projection was replaced") from error


def projections(connection: psycopg.Connection[Any]) -> list[Projection]:
    """Those that there are, the one that is asked first. Raises Refused, Unavailable."""
    with _in_place():
        row = connection.execute("SELECT to_regclass('reading.projections') IS NULL").fetchone()
        if row is None or row[0]:
            return []
        rows = connection.execute(f"SELECT {COLUMNS} FROM reading.projections ORDER BY asked DESC, place".encode())
        return [Projection(*it) for it in rows]


def belongs_to(connection: psycopg.Connection[Any]) -> tuple[str, str, str] | None:
    """(env, domain, topic prefix) that this read side is of; None before the first start. Raises Refused,
    Unavailable."""
    with _in_place():
        row = connection.execute("SELECT to_regclass('reading.belongs') IS NULL").fetchone()
        if row is None or row[0]:
            return None
        found = connection.execute("SELECT env, domain, prefix FROM reading.belongs").fetchone()
    return None if found is None else (found[0], found[1], found[2])


def bind(connection: psycopg.Connection[Any], env: str, domain: str, prefix: str) -> None:
    """Make what is kept beside projections, for one environment and its topics. Raises Refused for another's."""
    with _in_place():
        _make_kept(connection)
        wanted = (env, domain, prefix)
        connection.execute(
            "INSERT INTO reading.belongs (env, domain, prefix) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", wanted
        )
        found = belongs_to(connection)
    if found != wanted:
        raise Refused(
            f"this read side is of {found}, and the settings say {wanted}",
            remedy="set DATABASE_URL_PROJECTOR, FINANCE_ENV, FINANCE_DOMAIN and FINANCE_TOPIC_PREFIX of one and the "
            "same environment",
        )


def _make_kept(connection: psycopg.Connection[Any]) -> None:
    for _ in range(MAKERS_MAX):
        try:
            with connection.transaction():
                connection.execute(KEPT)
                _let_ask(connection, "reading")
            return
        except (errors.UniqueViolation, errors.DuplicateTable, errors.DuplicateObject, errors.InternalError_):
            continue  # another projector makes it at the same moment


def _let_ask(connection: psycopg.Connection[Any], schema: str) -> None:
    """Let the role that asks read what stands in a schema now; partitions are asked by their parents."""
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (ASKING,)).rowcount:
        connection.execute(
            sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}").format(
                sql.Identifier(schema), sql.Identifier(ASKING)
            )
        )


def current(connection: psycopg.Connection[Any]) -> Projection:
    """The projection that is asked; an empty one is made where there was none. Raises Refused for another version."""
    with _in_place():
        _make_kept(connection)
    with _in_place(), connection.transaction():
        connection.execute(LOCK)
        found = [it for it in projections(connection) if it.asked]
        if not found:
            return _make(connection, PLACES[0], asked=True)
    if found[0].version != VERSION:
        raise Refused(
            f"the projection has version {found[0].version} of its tables, and this release reads version {VERSION}",
            remedy=REMEDY,
        )
    return found[0]


def begin(connection: psycopg.Connection[Any]) -> Projection:
    """Make the tables of a new projection in the place that is not asked; what stood there goes."""
    with _in_place():
        _make_kept(connection)
    with _in_place(), connection.transaction():
        connection.execute(LOCK)
        taken = {it.place for it in projections(connection) if it.asked}
        return _make(connection, next(it for it in PLACES if it not in taken), asked=False)


def _make(connection: psycopg.Connection[Any], place: str, *, asked: bool) -> Projection:
    # First the row: whoever holds what stood there commits before it goes, and nobody holds it afterwards.
    connection.execute("DELETE FROM reading.projections WHERE place = %s", (place,))
    _drop(connection, place)
    connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(place)))
    connection.execute((resources.files("ledger_core.postgres.reading") / "projection.sql").read_bytes())
    _let_ask(connection, place)
    row = connection.execute(
        "INSERT INTO reading.projections (place, version, asked, building) VALUES (%s, %s, %s, %s) "
        f"RETURNING {COLUMNS}".encode(),
        (place, VERSION, asked, not asked),
    ).fetchone()
    assert row is not None  # noqa: S101  # RETURNING has its row
    return Projection(*row)


def _drop(connection: psycopg.Connection[Any], place: str) -> None:
    tables = connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relkind IN ('r', 'p') AND NOT c.relispartition",
        (place,),
    ).fetchall()
    for (table,) in tables:
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(place, table)))


def switch(connection: psycopg.Connection[Any], built: Projection) -> None:
    """Let questions go to this projection from now on; what was asked before goes. Raises Refused for one of another
    version, or one that was replaced."""
    with _in_place(), connection.transaction():
        connection.execute(LOCK)
        connection.execute("UPDATE reading.projections SET asked = false WHERE asked AND place <> %s", (built.place,))
        done = connection.execute(
            "UPDATE reading.projections SET asked = true, building = false "
            "WHERE place = %s AND number = %s AND version = %s",
            (built.place, built.number, VERSION),
        )
        if done.rowcount != 1:
            raise Refused(f"no projection of version {VERSION} stands in {built.place}", remedy=REMEDY)


def clear(connection: psycopg.Connection[Any]) -> None:
    """Drop what is neither asked nor built. Raises LockHeld while somebody reads it."""
    with _in_place(), connection.transaction():
        connection.execute(LOCK)
        left = {it.place for it in projections(connection) if not it.asked and not it.building}
        for place in sorted(left):
            connection.execute("DELETE FROM reading.projections WHERE place = %s", (place,))
            _drop(connection, place)


def hold(cursor: psycopg.Cursor[Any], projection: Projection) -> None:
    """Keep a projection from being replaced until this transaction ends. Raises TakenOver where it was."""
    if cursor.execute(HOLD, (projection.place, projection.number)).rowcount != 1:
        raise TakenOver("postgres", f"projection {projection.number} in {projection.place} was replaced")


def enter(connection: psycopg.Connection[Any], place: str) -> None:
    """Let unqualified names of this session mean the tables of a projection. Raises Refused for another place."""
    if place not in PLACES:
        raise Refused(f"{place!r:.40} is not a place of a projection", remedy=REMEDY)
    connection.execute(sql.SQL("SET search_path = {}, pg_temp").format(sql.Identifier(place)))
