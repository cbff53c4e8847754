"""A projection on a real database without a projector, and the same ledger in plain Python to compare it with."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from finance.settings.deployment import Settings
from finance.wiring.projections import rebuild_projection
from ledger_core.books.entries import JournalEntry, Provider, encode_entry
from ledger_core.chain import link
from ledger_core.postgres.connection import connect
from ledger_core.postgres.reading.projection_balances import Sides
from ledger_core.postgres.reading.projection_places import Projection, begin, projections, switch
from ledger_core.postgres.reading.projection_store import ProjectionStore
from ledger_core.postgres.schema.authority import READING_SCHEMAS
from ledger_core.reading.fold import JournalItem, ShardReach, fold
from ledger_core.reading.rows import time_us
from ledger_core.times import format_time
from schemas.topology.load import load_topology
from tests.support.journal_factory import START, TinyShard

NOW = time_us("2026-06-01T00:00:00.000000Z")
TABLES = ("shards", "series", "entries", "lines", "blocks", "totals", "moments", "chunks", "ends")


def make_schemas(database_url: str) -> None:
    """What who sets up a database for the read side does; migrations did it in the ledger's own."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for schema in READING_SCHEMAS:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}".encode())


def projection_in(connection: psycopg.Connection[Any], place: str) -> Projection:
    return next(it for it in projections(connection) if it.place == place)


def begun(database_url: str) -> str:
    """A new projection; its place."""
    with closing(connect(database_url, application_name="test")) as connection:
        return begin(connection).place


def ask_there(database_url: str, place: str) -> None:
    with closing(connect(database_url, application_name="test")) as connection:
        switch(connection, projection_in(connection, place))


@contextmanager
def opened(database_url: str, place: str) -> Iterator[ProjectionStore]:
    connection = connect(database_url, application_name="test")
    with closing(ProjectionStore(connection, projection_in(connection, place))) as store:
        yield store


@contextmanager
def asking(database_url: str, place: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(database_url, options=f"-c search_path={place}") as connection:
        connection.read_only = True
        yield connection


def contents(database_url: str, place: str) -> dict[str, list[str]]:
    """Every row of a projection, as text."""
    with asking(database_url, place) as connection:
        return {
            table: [str(row) for (row,) in connection.execute(f"SELECT t::text FROM {table} t ORDER BY 1".encode())]
            for table in TABLES
        }


@dataclass
class Ledger:
    """One shard whose entries have effective days of their own, and what it comes to in plain Python."""

    shard: TinyShard
    items: list[JournalItem] = field(default_factory=list)
    entries: list[JournalEntry] = field(default_factory=list)
    behind: int = 0  # sequence of the entry before the next one

    @classmethod
    def of(cls, count: int, *, shard: int = 0, topic: str = "finance.settlements", days: int = 40) -> Ledger:
        """Entries a second apart; what happened scatters over `days` days before, the newest as often as the oldest."""
        ledger = cls(TinyShard(shard=shard, topic=topic))
        ledger.grow(count, days=days)
        return ledger

    def grow(self, count: int, *, seconds: int = 1, days: int = 40) -> list[JournalItem]:
        """Add entries `seconds` apart; the new ones."""
        for number in range(len(self.items), len(self.items) + count):
            self.shard.post(1, seconds=number * seconds)
            it = self.shard.entries[-1]
            happened = START + dt.timedelta(seconds=number * seconds) - dt.timedelta(days=number * 7919 % days)
            self.behind += 1
            entry = msgspec.structs.replace(
                it.entry,
                seq=str(self.behind),
                occurred_at=format_time(happened),
                provider=Provider(name="stripe", reference=f"pi_{number}", amount_minor="1", currency="USD"),
            )
            body = encode_entry(entry)
            self.items.append(
                JournalItem(number, self.behind, body, link(body, self.items[-1].entry_hash if self.items else None))
            )
            self.entries.append(entry)
        return self.items[-count:]

    def sides(self, name: str, seq: int, day: dt.date) -> list[Sides]:
        """Of an account, or of a type: what the first `seq` entries that happened up to a day come to."""
        sums: dict[str, list[int]] = {}
        for entry in self.entries:
            for leg in entry.lines if int(entry.seq) <= seq else ():
                if leg.account == name or (leg.account.startswith(f"{name}:") and ":" not in name):
                    both = sums.setdefault(leg.currency, [0, 0])
                    if entry.occurred_at[:10] <= day.isoformat():
                        both[leg.side == "credit"] += int(leg.amount_minor)
        return [Sides(name, currency, *both) for currency, both in sorted(sums.items())]


def feed(store: ProjectionStore, items: Sequence[JournalItem], size: int, *, shard: int = 0) -> ShardReach:
    """Read a journal from where the projection stands, `size` records at a time."""
    reach = store.reach(shard)
    rest = [item for item in items if item.offset >= reach.next_offset]
    for at in range(0, len(rest), size):
        folded = fold(reach, rest[at : at + size], NOW, store.kept(shard, reach.seq, size))
        store.write(reach, folded)
        reach = folded.reach
    return reach


def jump(database_url: str, place: str, shard: int, seq: int) -> None:
    """Let a projection believe that it read a shard up to a sequence: as if millions of entries stood before it."""
    with psycopg.connect(database_url, autocommit=True, options=f"-c search_path={place}") as connection:
        connection.execute("INSERT INTO shards (shard) VALUES (%s) ON CONFLICT DO NOTHING", (shard,))
        connection.execute("UPDATE shards SET seq = %s WHERE shard = %s", (seq, shard))


def half_rebuilt(environ: Mapping[str, str], cwd: Path, *, batches: int) -> None:
    """A rebuild that ends after so many batches, as if it was killed behind that commit."""
    settings = Settings.from_env(environ, cwd)
    topology = load_topology(settings.topology_path, topic_prefix=settings.topic_prefix)
    limits = msgspec.structs.replace(topology.limits, projector_batch_records_max=40)
    left = iter(range(batches - 1))

    def told(_count: int) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        rebuild_projection(
            settings,
            msgspec.structs.replace(topology, limits=limits),
            anew=False,
            told=told,
        )
