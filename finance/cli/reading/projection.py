"""`finance projection`: the copy of the journal that answers questions: how far it is, made anew, compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import click
from rich.console import Console

from finance.cli.common import counting, emit, json_option, load_settings, load_topology_of, table
from finance.cli.findings import tell
from ledger_core.errors import Refused
from ledger_core.findings import Collector
from ledger_core.postgres.reading.asking import snapshot
from ledger_core.postgres.reading.progress import shard_progress
from ledger_core.postgres.reading.projection_check import (
    LedgerSide,
    accounts_of,
    check_count,
    check_entries,
    check_sums,
    ledger_side,
)
from ledger_core.postgres.reading.projection_places import projections
from ledger_core.postgres.session import Session, session
from ledger_core.times import format_time_us

STRETCH_ENTRIES: Final = 100  # of a sample, compared together
STRETCH_ALL_ENTRIES: Final = 10_000  # of everything: lines are read by the chunk
STATEMENT_TIMEOUT_MS: Final = 15 * 60_000  # of a comparison of everything
LOOK_SECONDS: Final = 0.25


@click.group()
def command() -> None:
    """The read side: how far its projection has come, built anew, compared with the ledger.

    \b
    Examples:
      finance projection status
      finance projection rebuild
      finance projection verify --all
    """


@command.command()
@json_option
def status(as_json: bool) -> None:
    """How far the projection has come in each shard, and how far the ledger is ahead of it.

    `known up to`: up to when a question as known at a time is answered. Reads DATABASE_URL_READING and
    DATABASE_URL_API.

    \b
    Examples:
      finance projection status
      finance projection status --json
    """
    settings = load_settings()
    with session(settings.database_url("api"), application_name="finance projection", read_only=True) as ledger:
        posted = {it.shard: it.seq for it in shard_progress(ledger)}
    with session(settings.database_url("reading"), application_name="finance projection", read_only=True) as connection:
        places = projections(connection)
        with snapshot(connection) as asked:
            position, known = dict(asked.reach.position), dict(asked.reach.known_us)
    rows = [
        {
            "shard": shard,
            "entries": position.get(shard, 0),
            "behind": max(0, posted.get(shard, 0) - position.get(shard, 0)),
            "known_up_to": format_time_us(known[shard]) if known.get(shard) else None,
        }
        for shard in sorted({*posted, *position})
    ]

    def words(console: Console) -> None:
        for it in places:
            what = "is asked" if it.asked else "is being built" if it.building else "was replaced"
            console.print(f"projection {it.number} in {it.place} {what} (version {it.version} of its tables)")
        columns = ("shard", "entries", "behind", "known up to")
        console.print(table(columns, [tuple(row.values()) for row in rows], right=columns[:3]))

    emit(as_json, {"ok": True, "projections": [it._asdict() for it in places], "shards": rows}, words)


@command.command()
@click.option("--anew", is_flag=True, help="Begin again, also where a rebuild was interrupted.")
@json_option
def rebuild(anew: bool, as_json: bool) -> None:
    """Build the projection anew from the topics, beside the one that is asked, and switch to it in one step.

    Answers go on meanwhile, and the projector too; it goes on in the new one within seconds. Interrupted, run it again:
    it goes on where it was. Needs room for both. Run it where the projector runs: it reads DATABASE_URL_PROJECTOR,
    KAFKA_BROKERS and the projector's certificate.

    \b
    Examples:
      finance projection rebuild
      finance projection rebuild --anew --json
    """
    from finance.wiring.projections import rebuild_projection

    settings = load_settings()
    started = time.monotonic()
    with counting("rebuilding", "records", None) as advance:
        built, taken, cleared = rebuild_projection(settings, load_topology_of(settings), anew=anew, told=advance)
    seconds = time.monotonic() - started

    def words(console: Console) -> None:
        console.print(f"{taken:,} records read in {seconds:.1f} s; projection {built.number} in {built.place} is asked")
        if not cleared:
            console.print("the one before is still read by somebody; the next rebuild takes its place")

    emit(
        as_json, {"ok": True, "place": built.place, "number": built.number, "records": taken, "cleared": cleared}, words
    )


@command.command()
@click.option("--all", "everything", is_flag=True, help="Every entry, line and account, instead of a sample.")
@click.option(
    "--entries", type=click.IntRange(0), default=10_000, show_default=True, help="Entries of the sample, of each shard."
)
@click.option("--accounts", type=click.IntRange(0), default=500, show_default=True, help="Accounts of the sample.")
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Until the projection has read what the ledger has now, seconds.",
)
@json_option
def verify(everything: bool, entries: int, accounts: int, wait_seconds: float, as_json: bool) -> None:
    """Compare the projection with the ledger: heads, counts, balances, entries and their lines.

    The first difference of each shard is named. A sample is spread evenly over the ledger; --all compares every entry.
    Exit 1: they differ; `finance projection rebuild` makes the projection anew. Reads DATABASE_URL_AUDITOR and
    DATABASE_URL_READING.

    \b
    Examples:
      finance projection verify
      finance projection verify --all --json
    """
    settings, started, found = load_settings(), time.monotonic(), Collector()
    with (
        session(
            settings.database_url("auditor"), application_name="finance projection", read_only=True,
            statement_timeout_ms=STATEMENT_TIMEOUT_MS,
        ) as ledger,
        session(
            settings.database_url("reading"), application_name="finance projection", read_only=True,
            statement_timeout_ms=STATEMENT_TIMEOUT_MS,
        ) as reading,
    ):  # fmt: skip
        side = _ledger_side(ledger, None if everything else accounts)
        _wait_for(reading, side, wait_seconds)
        with snapshot(reading) as asked:
            check_sums(asked.connection, side, found)
            total = sum(seq for seq, _ in side.heads.values())
            with counting("comparing", "entries", total if everything else None) as advance:
                for shard, (seq, _) in side.heads.items():
                    if everything:
                        check_count(asked.connection, shard, seq, found)
                    stretches = _told(_stretches(seq, None if everything else entries), advance)
                    check_entries(ledger, asked.connection, shard, stretches, found)
    tell(found.report(), time.monotonic() - started, as_json)


def _ledger_side(ledger: Session, accounts: int | None) -> LedgerSide:
    with ledger.transaction():
        ledger.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return ledger_side(ledger, accounts_of(ledger, accounts))


def _wait_for(reading: Session, side: LedgerSide, seconds: float) -> None:
    """Until the projection has what the ledger had. Raises Refused."""
    until = time.monotonic() + seconds
    while True:
        with snapshot(reading) as asked:
            behind = sum(max(0, seq - asked.reach.position.get(shard, 0)) for shard, (seq, _) in side.heads.items())
        if behind == 0:
            return
        if time.monotonic() >= until:
            raise Refused(
                f"the projection is {behind} entries behind the ledger",
                remedy="see that `finance run projector` runs and stands on no shard, or wait longer (--wait)",
            )
        time.sleep(LOOK_SECONDS)


def _stretches(seq: int, entries: int | None) -> Iterator[tuple[int, int]]:
    """Parts of the entries 1 to seq, oldest first: all of it, or so many evenly spread, the newest among them."""
    size = STRETCH_ALL_ENTRIES if entries is None else STRETCH_ENTRIES
    parts = -(-seq // size)
    wanted = parts if entries is None else min(parts, -(-entries // size))
    for number in range(wanted):
        at = parts - 1 - (wanted - 1 - number) * parts // wanted
        yield at * size + 1, min(seq, (at + 1) * size)


def _told(stretches: Iterator[tuple[int, int]], advance: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    for first, last in stretches:
        yield first, last
        advance(last - first + 1)
