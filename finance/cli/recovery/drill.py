"""`finance drill`: bring the ledger back beside itself, prove it again, and sign what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec
from rich.console import Console

from finance.cli.addresses import DatabaseAddress
from finance.cli.common import counting, emit, json_option, load_settings, load_topology_of, operator, table
from finance.cli.proving.trusted import registry_of, signers_option
from finance.settings.deployment import STATE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable

    from finance.recovery.drill.report import WayResult
    from finance.recovery.drill.run import Drilled

FINDINGS_SHOWN_MAX = 20


@click.command()
@click.argument("way", type=click.Choice(["archive", "topic", "pitr", "keys", "all"]))
@click.option(
    "--report",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(STATE_FOLDER) / "drills",
    show_default=True,
    help="Where the report goes: drill-<id>.json, signed, and drill-<id>.html.",
)
@click.option(
    "--into",
    type=DatabaseAddress(),
    help="A scratch server (postgresql://owner@host/postgres) for archive and topic: databases are made and dropped "
    "there. Default: DRILL_DATABASE_URL, or one of the development packages, started for the drill.",
)
@signers_option
@json_option
def command(
    way: Literal["archive", "topic", "pitr", "keys", "all"],
    folder: Path,
    into: str | None,
    signers: Path | None,
    as_json: bool,
) -> None:
    """Restore the ledger in that way beside itself, prove it again, compare, and write a signed report.

    archive: objects and public keys alone. topic: the settlements topic. pitr: base backup and WAL. keys: every
    signature of the history, and a new one. The live ledger is only read, but for the audit event `drill.completed`.
    Exit 1: something was found (the report is signed all the same); 3, 4: the drill could not begin. Reads
    DATABASE_URL_AUDITOR, DATABASE_URL_API, the signing key, FINANCE_SIGNERS, and S3_AUDIT_*, KAFKA_BROKERS, BACKUP_*.

    \b
    Examples:
      finance drill archive
      finance drill all --report drills/ --json
      finance drill topic --into postgresql://owner@scratch/postgres
    """
    from finance.recovery.drill.report import WAYS
    from finance.recovery.drill.run import run_drill

    settings = load_settings()

    @contextmanager
    def bar(description: str, unit: str, total: int | None) -> Iterator[Callable[[int], None]]:
        with counting(description, unit, total) as advance:
            yield advance

    drilled = run_drill(
        settings,
        load_topology_of(settings),
        registry_of(signers, settings),
        WAYS if way == "all" else (way,),
        folder,
        actor_id=operator(settings),
        counting=bar,
        tell=lambda words: click.echo(words, err=True),
        into=into or settings.text("DRILL_DATABASE_URL") or None,
    )
    report = drilled.report
    told = {
        "ok": report.sound,
        "report": str(drilled.json_path),
        "page": str(drilled.page_path),
        "sha256": drilled.sha256,
        **msgspec.to_builtins(report),
    }
    emit(as_json, told, lambda console: _words(console, drilled))
    if not report.sound:
        raise click.exceptions.Exit(1)


def _words(console: Console, drilled: Drilled) -> None:
    rows = [
        (
            way.way,
            "sound" if way.sound else f"{len(way.findings) + int(way.findings_beyond_max):,} findings",
            "" if way.way == "keys" else f"{way.restore_milliseconds / 1000:,.1f}",
            f"{way.check_milliseconds / 1000:,.1f}",
            way.counts.get("proof_hashes_reproduced", ""),
            _behind(way),
        )
        for way in drilled.report.ways
    ]
    heads = ("drill", "outcome", "restored in s", "checked in s", "proofs reproduced", "behind the live ledger")
    console.print(table(heads, rows, right=heads[2:5]))
    for way in drilled.report.ways:
        for found in way.findings[:FINDINGS_SHOWN_MAX]:
            where = [
                f"{name} {value}" for name, value in (("shard", found.shard), ("seq", found.seq)) if value is not None
            ]
            where += [f"in {found.place}"] if found.place else []
            end = f" ({', '.join(where)})" if where else ""
            console.print(f"{way.way}: {found.code}: {found.message}{end}", markup=False)
    console.print(f"report   {drilled.json_path}")
    console.print(f"page     {drilled.page_path}")
    console.print(f"check it: finance verify drill {drilled.json_path}")


def _behind(way: WayResult) -> str:
    if not way.shards:
        return ""
    entries = sum(int(shard.behind_entries) for shard in way.shards)
    offsets = sum(int(shard.behind_offsets) for shard in way.shards)
    seconds = max(int(shard.behind_milliseconds or 0) for shard in way.shards) / 1000
    return f"{entries:,} entries, {offsets:,} offsets, {seconds:,.1f} s"
