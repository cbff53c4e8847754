"""`finance backup restore` and `adopt`: a new data directory at a moment, and the epoch that says so."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from finance.cli.common import (
    byte_progress,
    emit,
    for_the_chain,
    is_day,
    json_option,
    load_settings,
    moment_of,
    operator,
)
from finance.recovery.backup import wal
from finance.recovery.backup.base.plan import Choice, Target
from finance.recovery.backup.base.restore import RestoredCluster
from finance.recovery.backup.place.copies import Copies
from finance.settings.deployment import STATE_FOLDER, Settings


class TargetType(click.ParamType[Target]):
    """`latest`, `immediate`, a time or a WAL position."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Target:
        text = str(value)
        if text == "latest":
            return Target("latest")
        if text == "immediate":
            return Target("immediate")
        if "/" in text:
            try:
                return Target("lsn", lsn=wal.parse_lsn(text))
            except ValueError as error:
                self.fail(str(error), param, ctx)
        if is_day(text):
            self.fail(f"{text} is a day, and a restore needs one moment of it: {text}T12:00:00Z", param, ctx)
        try:
            return Target("time", moment=moment_of(text))
        except click.BadParameter as error:
            return self.fail(error.message, param, ctx)


reason_option = click.option(
    "--reason",
    default="restored by the operator",
    show_default=True,
    callback=for_the_chain,
    help="Why: for the audit chain.",
)


@click.command()
@click.option(
    "--to",
    "target",
    type=TargetType(),
    required=True,
    help="A time (RFC 3339), a WAL position (0/3000028), `latest`, or `immediate`: the backup alone.",
)
@click.option("--backup", "backup_id", help="This backup. Default: the newest that ended before the moment.")
@click.option(
    "--timeline",
    type=click.IntRange(1),
    help="The timeline to follow, where an earlier restore began another. Default: the newest.",
)
@click.option("--unsigned-wal", is_flag=True, help="Use WAL that no signed list covers, where the lists are lost.")
@click.option(
    "--target",
    "directory",
    type=click.Path(path_type=Path),
    help="The new data directory. Default: one below .finance/restored/.",
)
@click.option("--start", is_flag=True, help="Start it on a private socket, wait for it, and begin the epoch.")
@click.option("--system", help="The cluster, by its system identifier, when the place has several.")
@click.option(
    "--also",
    multiple=True,
    metavar="PLACE",
    help="A second place (a folder or s3://bucket/prefix) to read from, and to heal the first one with.",
)
@reason_option
@json_option
def restore(
    target: Target,
    backup_id: str | None,
    timeline: int | None,
    unsigned_wal: bool,
    directory: Path | None,
    start: bool,
    system: str | None,
    also: tuple[str, ...],
    reason: str,
    as_json: bool,
) -> None:
    """Make a new data directory that a server recovers to the moment; never over one that is not empty.

    Every file that is needed is read and compared with its digest before anything is written. What the stream left in
    BACKUP_SPOOL on this host is stored first. Then do what is printed; with --start it is done here, on a socket that
    only the server's OS user reaches, for drills and inspection. Reads BACKUP_PLACE, BACKUP_IDENTITY_FILE (the private
    key), FINANCE_SIGNERS, PG_BIN.

    \b
    Examples:
      finance backup restore --to latest --target new-data/
      finance backup restore --to 2025-11-01T12:00:00Z --start
    """
    from finance.recovery.backup.assembly import copies_of, drain_spool, restorable, restore_terms
    from finance.recovery.backup.base.restore import plan_of
    from finance.recovery.backup.base.restore import restore as make

    settings, began = load_settings(), time.monotonic()
    copies = copies_of(settings, also)
    catalogue = restorable(settings, copies, system)
    if drain_spool(settings, copies, catalogue.system_identifier):
        catalogue = restorable(settings, copies, system)
    with byte_progress("reading", None) as advance:
        terms = restore_terms(settings, copies, advance)
        plan = plan_of(terms, catalogue, target, Choice(backup_id, timeline, unsigned_wal))
        place = directory or Path(STATE_FOLDER) / "restored" / plan.backup.backup_id
        restored = make(terms, plan, place.absolute())
    told: dict[str, object] = {
        "ok": True,
        "backup_id": restored.backup.backup_id,
        "target": str(target),
        "recovers_to": str(restored.target),
        "directory": str(restored.directory),
        "wal_files": restored.wal_files,
        "healed": copies.healed,
        "not_healed": copies.not_healed,
        "ignored": list(restored.ignored),
        "unsigned": list(restored.unsigned),
    }
    if start:
        told |= _start(settings, restored, reason)
    told["seconds"] = round(time.monotonic() - began, 3)
    emit(as_json, told, lambda console: _words(console, told, restored, copies, started=start))


@click.command()
@click.option("--backup", "backup_id", help="The backup it was restored from.")
@click.option("--standby", is_flag=True, help="A standby was promoted, in place of a restore.")
@reason_option
@json_option
def adopt(backup_id: str | None, standby: bool, reason: str, as_json: bool) -> None:
    """Begin the epoch `restore` on a server that is up: the last step of a restore, or of a failover to a standby.

    Reads DATABASE_URL, the database as its owner. After a restore, do this before any process is started on it; after
    a failover, as soon as you can: a standby that lost the last second is a database of before, too.

    \b
    Examples:
      finance backup adopt --backup 20251101T120000Z-0a1b2c3d --reason "disk lost, incident 42"
      finance backup adopt --standby --reason "primary lost, incident 43"
    """
    from finance.recovery.backup.serve import adopt as begin

    if (backup_id is None) != standby:
        raise click.UsageError("name --backup, or --standby: where does this database come from?")
    settings = load_settings()
    source = "promoted standby" if standby else f"backup {backup_id}"
    epoch = begin(settings.owner_database_url(), source, actor_id=operator(settings), reason=reason)
    told = {"ok": True, "epoch_no": epoch.epoch_no, "epoch_id": epoch.epoch_id, "kind": epoch.kind}
    emit(as_json, told, lambda console: console.print(f"epoch {epoch.epoch_no} (restore) has begun: {epoch.reason}"))


def _start(settings: Settings, restored: RestoredCluster, reason: str) -> dict[str, object]:
    from finance.recovery.backup.serve import serve

    served = serve(settings, restored, settings.owner_database_url(), actor_id=operator(settings), reason=reason)
    pid, epoch = served.server.process.pid, served.epoch
    return {"database_url": served.dsn, "pid": pid, "epoch_no": epoch.epoch_no, "epoch_id": epoch.epoch_id}


def healing_words(console: Console, copies: Copies) -> None:
    """What was put back from another place, and what could not be."""
    for line in copies.healed:
        console.print(f"healed    {line}")
    for line in copies.not_healed:
        console.print(f"unhealed  {line}")


def _words(
    console: Console, told: dict[str, object], restored: RestoredCluster, copies: Copies, *, started: bool
) -> None:
    console.print(
        f"backup {restored.backup.backup_id} and {restored.wal_files} file(s) of WAL are in {restored.directory}, "
        f"{told['seconds']} s"
    )
    healing_words(console, copies)
    for line in restored.ignored:
        console.print(f"ignored   {line}")
    if restored.unsigned:
        console.print(f"unsigned  {len(restored.unsigned)} file(s) of WAL, from {restored.unsigned[0]} on")
    if started:
        console.print(f"it serves as {told['database_url']} (pid {told['pid']}), in epoch {told['epoch_no']}")
        console.print(f"stop it:   pg_ctl -D {restored.directory} stop")
        return
    backup_id = restored.backup.backup_id
    steps = (
        "stop every process of Finance, and the server that is to be replaced",
        f"let the server's own OS user own {restored.directory}, and start it there with your configuration",
        "wait until `SELECT pg_is_in_recovery()` says f, and point DATABASE_URL, DATABASE_URL_* to it",
        f'finance backup adopt --backup {backup_id} --reason "why"',
        "finance migrate --check && finance verify ledger",
        "start the poster: it catches up from the topic. What the other processes then say is in RUNBOOK 9",
        "finance backup stream, and finance backup create: the restored cluster has its own timeline",
    )
    for number, step in enumerate(steps, 1):
        console.print(f"  {number}. {step}")
