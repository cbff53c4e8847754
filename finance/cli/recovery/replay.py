"""`finance replay`: the settlements topic again, into another database or beside the live ledger."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import TaskID

from finance.cli.addresses import DatabaseAddress
from finance.cli.common import EndMoment, counting, emit, json_option, load_settings, load_topology_of, operator, table
from finance.cli.common import progress_on_terminal as progress_bar
from finance.cli.findings import findings_table
from finance.cli.proving.trusted import registry_of, signers_option
from finance.recovery.replay_beside import replay_beside
from finance.recovery.replay_compare import compare_filled
from finance.recovery.replay_into import ReplayPlan, ShardRun, Tell, replay_into
from finance.recovery.replay_sources import Source, choose_source
from ledger_core.findings import Report
from ledger_core.recovery.replay_port import StopAt

NOT_THE_LEDGER = "NOT THE LEDGER"


@click.command()
@click.option("--from", "from_", type=click.Choice(["topic"]), required=True, help="What is replayed.")
@click.option(
    "--into",
    type=DatabaseAddress(),
    help="Postgres address (owner) of an empty database to fill. Default: only compare.",
)
@click.option("--shard", "shards", type=click.IntRange(0), multiple=True, help="Only this shard; may be repeated.")
@click.option("--from-offset", type=click.IntRange(0), help="Compare from here on (its range's start). One --shard.")
@click.option("--to-seq", type=click.IntRange(1), help="Stop after this entry: not the ledger. Needs one --shard.")
@click.option("--to-offset", type=click.IntRange(0), help="Stop before this offset: not the ledger. Needs one --shard.")
@click.option(
    "--to-time", type=EndMoment(), help="Stop behind this day, or before this time (of the topic): not the ledger."
)
@click.option(
    "--rules",
    default="ledger",
    show_default=True,
    help="`ledger`: those that the topic put in force. A version for every event (1, 2): not the ledger.",
)
@click.option(
    "--compare",
    type=click.Choice(["database", "archive", "nothing"]),
    help="Where verdict log and proofs come from. Default: the database if it answers, else the archive.",
)
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="Without --into: go on from this file.")
@signers_option
@json_option
def command(
    from_: str,
    into: str | None,
    shards: tuple[int, ...],
    from_offset: int | None,
    to_seq: int | None,
    to_offset: int | None,
    to_time: dt.datetime | None,
    rules: str,
    compare: Source | None,
    state: Path | None,
    signers: Path | None,
    as_json: bool,
) -> None:
    """Run the settlements topic again through the posting code, and compare with the ledger and with what was signed.

    With --into the ledger comes to be anew in an empty database (which is migrated), byte for byte; run it again after
    any interruption and it goes on. Nothing is published. Without --into nothing is written: the live ledger is
    compared entry by entry with what the topic gives. Exit 1: something differs, and the first difference is named.

    A replay to a point (--to-...) or by other --rules is not the ledger: its database is marked a what-if for ever, and
    every process refuses it. Reads KAFKA_BROKERS, FINANCE_SIGNERS, DATABASE_URL_AUDITOR, S3_AUDIT_*.

    \b
    Examples:
      finance replay --from topic
      finance replay --from topic --into postgresql://owner@db/ledger_new
      finance replay --from topic --into postgresql://owner@db/ledger_new --compare archive --json
      finance replay --from topic --shard 0 --to-seq 100000 --into postgresql://owner@db/what_if
    """
    from consumers.recovery.rule_sets import RULE_SETS

    del from_  # one choice today; named, so that a second one breaks no script
    if (to_seq is not None or to_offset is not None or from_offset is not None) and len(shards) != 1:
        raise click.UsageError("--from-offset, --to-seq and --to-offset need exactly one --shard")
    if rules not in RULE_SETS:
        raise click.BadParameter(f"there are rules {', '.join(sorted(RULE_SETS))}", param_hint="--rules")
    if into and state:
        raise click.UsageError("--state is for comparing beside the live ledger; with --into the database is the state")
    settings = load_settings()
    plan = ReplayPlan(
        settings,
        load_topology_of(settings),
        registry_of(signers, settings),
        choose_source(compare, settings) if into else (compare or "database"),
        shards,
        StopAt(to_seq, to_offset, to_time),
        rules,
        from_offset,
    )
    started = time.perf_counter()
    runs, report, seconds = _run(plan, into, state, operator(settings))
    compare_seconds = time.perf_counter() - started - seconds
    _tell(plan, runs, report, (seconds, compare_seconds), into is not None, as_json)


def _run(
    plan: ReplayPlan, into: str | None, state: Path | None, actor_id: str
) -> tuple[Mapping[int, ShardRun], Report, float]:
    """The replay and its comparison; the seconds are of the replay alone."""
    started = time.perf_counter()
    with _bars(plan) as tell:
        if into is None:
            runs, report = replay_beside(plan, state, tell)
            return runs, report, time.perf_counter() - started
        runs = replay_into(plan, into, actor_id, tell)
    seconds = time.perf_counter() - started
    with counting("comparing", "entries", sum(run.seq for run in runs.values())) as advance:
        return runs, compare_filled(plan, into, advance), seconds


@contextmanager
def _bars(plan: ReplayPlan) -> Iterator[Tell]:
    """A bar with rate and time left for each shard."""
    with progress_bar("offsets") as progress:
        tasks: dict[int, TaskID] = {}

        def tell(runs: Mapping[int, ShardRun]) -> None:
            for shard, run in runs.items():
                if shard not in tasks:
                    total = run.end_offset - run.first_offset
                    tasks[shard] = progress.add_task(f"shard {shard}" + _mark(plan), total=total)
                progress.update(tasks[shard], completed=run.next_offset - run.first_offset)

        yield tell


def _mark(plan: ReplayPlan) -> str:
    return "" if plan.is_ledger else f" ({NOT_THE_LEDGER})"


def _tell(
    plan: ReplayPlan,
    runs: Mapping[int, ShardRun],
    report: Report,
    times: tuple[float, float],
    filled: bool,
    as_json: bool,
) -> None:
    offsets = sum(run.next_offset - run.first_offset for run in runs.values())
    seconds, compare_seconds = times
    rate = offsets / seconds if seconds > 0 else 0.0

    def words(console: Console) -> None:
        rows = [(r.shard, r.first_offset, r.next_offset, r.seq, r.from_log) for r in runs.values()]
        heads = ("shard", "from offset", "next offset", "seq", "from the log")
        console.print(table(heads, rows, right=heads))
        console.print(f"{offsets:,} offsets in {seconds:.1f} s, {rate:,.0f} offsets/s{_mark(plan)}")
        if any(run.from_log for run in runs.values()):
            console.print("from the log: verdicts that depend on another shard; who came first was taken from the log")
        with_what = {"database": "the live ledger", "archive": "the archive", "nothing": "nothing outside itself"}
        counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in report.counts.items())
        console.print(f"compared with {with_what[plan.compare]}: {counts}")
        if report.sound:
            console.print("no difference" if plan.is_ledger else f"no difference. {NOT_THE_LEDGER}: {plan.reason}")
        else:
            console.print(findings_table(report))

    result = {
        "ok": report.sound,
        "is_ledger": plan.is_ledger,
        "filled": filled,
        "reason": plan.reason,
        "rules": plan.rules,
        "compared_with": plan.compare,
        "shards": [
            {
                "shard": run.shard,
                "first_offset": str(run.first_offset),
                "next_offset": str(run.next_offset),
                "seq": str(run.seq),
                "verdicts_from_log": run.from_log,
            }
            for run in runs.values()
        ],
        "offsets": offsets,
        "seconds": round(seconds, 3),
        "compare_seconds": round(compare_seconds, 3),
        "offsets_per_second": round(rate),
        **report.to_json(),
    }
    emit(as_json, result, words)
    if not report.sound:
        raise click.exceptions.Exit(1)
