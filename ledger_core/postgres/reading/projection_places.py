"""Where projections stand: two schemas, of which one is asked, and what is kept beside both.

Guarantees: a projection is asked only once it was built and switched to, and only in the version that this release
knows; the switch is one row, so no answer mixes two. What is built stands in the other schema, and nobody asks it.
Does not: make the schemas: a migration does, or who sets up a database for them. Needs to own them.
"""

from __future__ import annotations

from importlib import resources
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from ledger_core.errors import Refused
from ledger_core.postgres.session import translated

VERSION: Final = 1  # of projection.sql; a change of it is a rebuild
PLACES: Final = ("reading_1", "reading_2")

KEPT: Final = """
CREATE TABLE IF NOT EXISTS reading.projections (
    place   text PRIMARY KEY,               -- the schema
    version integer NOT NULL,               -- of its tables
    asked   boolean NOT NULL DEFAULT false, -- by whoever has a question
    made_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX IF NOT EXISTS projections_asked ON reading.projections (asked) WHERE asked;
CREATE TABLE IF NOT EXISTS reading.kept_times (
    shard    integer NOT NULL,
    seq      bigint  NOT NULL,
    why      text    NOT NULL CHECK (why IN ('ahead', 'closed')),
    known_us bigint  NOT NULL,              -- microseconds since 1970 (ledger_core.reading.known)
    PRIMARY KEY (shard, seq, why)
)"""
REMEDY: Final = "run `finance projection rebuild`"


class Projection(NamedTuple):
    """A projection, built or being built."""

    place: str  # its schema
    version: int  # of its tables
    asked: bool  # whether questions go there


@translated()
def projections(connection: psycopg.Connection[Any]) -> list[Projection]:
    """Those that there are, the one that is asked first."""
    connection.execute(KEPT)
    rows = connection.execute("SELECT place, version, asked FROM reading.projections ORDER BY asked DESC, place")
    return [Projection(*row) for row in rows]


@translated()
def begin(connection: psycopg.Connection[Any]) -> Projection:
    """Make the tables of a new projection in the place that is not asked; what stood there goes."""
    there = projections(connection)
    place = next(it for it in PLACES if it not in {found.place for found in there if found.asked})
    with connection.transaction():
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = %s AND NOT EXISTS (SELECT FROM pg_inherits "
            "WHERE inhrelid = format('%%I.%%I', schemaname, tablename)::regclass)",
            (place,),
        ).fetchall()
        for (table,) in tables:
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(place, table)))
        connection.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(place)))
        connection.execute((resources.files("ledger_core.postgres.reading") / "projection.sql").read_bytes())
        connection.execute(
            "INSERT INTO reading.projections (place, version) VALUES (%s, %s) ON CONFLICT (place) DO UPDATE "
            "SET version = excluded.version, made_at = clock_timestamp()",
            (place, VERSION),
        )
    return Projection(place, VERSION, asked=False)


@translated()
def switch(connection: psycopg.Connection[Any], place: str) -> None:
    """Let questions go to this projection from now on. Raises Refused for one of another version, or none."""
    with connection.transaction():
        connection.execute("UPDATE reading.projections SET asked = false WHERE asked AND place <> %s", (place,))
        done = connection.execute(
            "UPDATE reading.projections SET asked = true WHERE place = %s AND version = %s", (place, VERSION)
        )
        if done.rowcount != 1:
            raise Refused(f"no projection of version {VERSION} stands in {place}", remedy=REMEDY)


def enter(connection: psycopg.Connection[Any], place: str) -> None:
    """Let unqualified names of this session mean the tables of a projection. Raises Refused for another place."""
    if place not in PLACES:
        raise Refused(f"{place!r:.40} is not a place of a projection", remedy=REMEDY)
    connection.execute(sql.SQL("SET search_path = {}, pg_temp").format(sql.Identifier(place)))
