"""Asking the projection that questions go to: one snapshot a question, and how far it reaches.

Guarantees: everything that is asked in one `snapshot` is of one moment and one projection, also while another one is
switched to. A database without a projection of this version is Refused with the remedy. Waiting is bounded.
Does not: write anything; know how far the ledger is ahead. Needs the right to read the projection's schema.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import psycopg
from psycopg import sql

from ledger_core.errors import Refused, Unavailable
from ledger_core.postgres.reading.projection_balances import REACHES, position_at
from ledger_core.postgres.reading.projection_places import PLACES, VERSION
from ledger_core.postgres.session import Session, session
from ledger_core.reading.reach import Reach, asked_position
from ledger_core.reading.tokens import POSITION

THERE: Final = "SELECT to_regclass('reading.projections') IS NOT NULL"
PLACE: Final = "SELECT place, version FROM reading.projections WHERE asked"
RUN: Final = "run `finance run projector`, which makes and fills one, then ask again"
REBUILD: Final = "run `finance projection rebuild` with this release, or ask with the release that made it"
STATEMENT_TIMEOUT_MS: Final = 30_000
PAUSE_SECONDS: Final = 0.1  # between two readings while waiting


class Asked(NamedTuple):
    """A snapshot of the projection."""

    connection: Session  # in the transaction of the snapshot, whose search_path is the projection
    reach: Reach  # how far it has come

    def position(self, known_at: str | int | None) -> dict[int, int]:
        """What is asked about: a position's token, a time (microseconds since 1970), or None for all that was read.
        Raises Refused for what is not known yet."""
        if known_at is None:
            return dict(self.reach.position)
        if isinstance(known_at, int):
            return position_at(self.connection, known_at)
        return asked_position(self.reach, known_at)


@contextmanager
def asking(dsn: str, *, application_name: str) -> Iterator[Asked]:
    """A session with one snapshot. Raises Unavailable and Refused."""
    with session(
        dsn, application_name=application_name, read_only=True, statement_timeout_ms=STATEMENT_TIMEOUT_MS
    ) as connection:
        connection.execute("SET jit = off")  # compiling takes longer than any of these statements
        with snapshot(connection) as asked:
            yield asked


@contextmanager
def snapshot(connection: Session) -> Iterator[Asked]:
    """One moment of the projection that is asked now; the connection is in autocommit mode. Raises Refused."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    with connection.transaction(force_rollback=True):
        place = _place(connection)
        connection.execute(sql.SQL("SET LOCAL search_path = {}, pg_temp").format(sql.Identifier(place)))
        rows = connection.execute(REACHES).fetchall()
        reach = Reach({shard: seq for shard, seq, _ in rows}, {shard: known_us for shard, _, known_us in rows})
        yield Asked(connection, reach)


def wait_for(connection: Session, shard: int, seq: int, *, seconds: float) -> None:
    """Wait until the projection has read an entry, as whoever has just posted it does. Raises Unavailable when it has
    not within `seconds`, and Refused."""
    for _ in range(max(1, int(seconds / PAUSE_SECONDS))):
        with snapshot(connection) as asked:
            if asked.reach.position.get(shard, 0) >= seq:
                return
        connection.execute("SELECT pg_sleep(%s)", (PAUSE_SECONDS,))
    raise Unavailable(
        "the read side", f"entry {seq} of shard {shard} was not read within {seconds:g} s (does the projector run?)"
    )


def is_position(text: str) -> bool:
    """Whether a text is meant as a position's token, rather than a time."""
    return text.startswith(f"{POSITION}.")


def _place(connection: Session) -> str:
    row = connection.execute(THERE).fetchone()
    found = connection.execute(PLACE).fetchone() if row is not None and row[0] else None
    if found is None or found[0] not in PLACES:
        raise Refused("this database has no projection of the journal yet", remedy=RUN)
    if found[1] != VERSION:
        raise Refused(
            f"the projection is of version {found[1]}, and this release asks version {VERSION}", remedy=REBUILD
        )
    return str(found[0])
