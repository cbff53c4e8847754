"""`finance projection`: the copy of the journal that answers questions: how far it is, made anew, compared."""

from __future__ import annotations

import time
from contextlib import ExitStack

import click
from rich.console import Console

from finance.cli.common import counting, emit, json_option, load_settings, load_topology_of, table
from finance.cli.findings import tell
from ledger_core.postgres.reading.asking import snapshot
from ledger_core.postgres.reading.progress import shard_progress
from ledger_core.postgres.reading.projection_places import projections
from ledger_core.postgres.session import session
from ledger_core.times import format_time_us


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
    KAFKA_BROKERS and the projector's certificate. Verdicts that the outcomes topic no longer holds come from the ledger
    where DATABASE_URL_API is given, or else from the projection before.

    \b
    Examples:
      finance projection rebuild
      finance projection rebuild --anew --json
    """
    from finance.wiring.projections import rebuild_projection

    settings = load_settings()
    started = time.monotonic()
    with counting("rebuilding", "records", None) as advance:
        done = rebuild_projection(settings, load_topology_of(settings), anew=anew, told=advance)
    seconds = time.monotonic() - started
    built = done.projection

    def words(console: Console) -> None:
        console.print(
            f"{done.records:,} records read in {seconds:.1f} s; projection {built.number} in {built.place} is asked"
        )
        if not done.cleared:
            console.print("the one before is still read by somebody; the next rebuild takes its place")
        for shard, offset in done.verdicts_from.items():
            which = "of records" if offset is None else f"of records before offset {offset}"
            console.print(
                f"shard {shard}: verdicts {which} that the outcomes topic forgot are not known here: "
                "run it again with --anew, and DATABASE_URL_API set, to take them from the ledger"
            )

    whole_from = {str(shard): None if it is None else str(it) for shard, it in done.verdicts_from.items()}
    emit(
        as_json,
        {
            "ok": True, "place": built.place, "number": built.number, "records": done.records, "cleared": done.cleared,
            "verdicts_from": whole_from,
        },
        words,
    )  # fmt: skip


@command.command()
@click.option("--all", "everything", is_flag=True, help="Every row of every table, instead of a sample.")
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
    """Compare the projection with the ledger: heads, counts, balances, entries with their lines, verdicts and links.

    The first difference of each shard is named. A sample is spread evenly over the ledger; --all compares every row of
    every table.
    Exit 1: they differ; `finance projection rebuild` makes the projection anew. Reads DATABASE_URL_AUDITOR and
    DATABASE_URL_READING.

    \b
    Examples:
      finance projection verify
      finance projection verify --all --json
    """
    from finance.wiring.projection_compared import ComparedPart, compare_projection

    settings, started = load_settings(), time.monotonic()
    with ExitStack() as opened:
        report = compare_projection(
            settings,
            ComparedPart(entries, accounts, everything),
            wait_seconds=wait_seconds,
            begin=lambda total: opened.enter_context(counting("comparing", "entries", total)),
        )
    tell(report, time.monotonic() - started, as_json)
