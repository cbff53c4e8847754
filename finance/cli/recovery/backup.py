"""`finance backup`: the way back to any moment of the database, by Postgres's own tools."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console

from finance.cli.common import byte_progress, counting, emit, json_option, load_settings, load_topology_of
from finance.cli.recovery.restore import adopt, healing_words, restore
from finance.settings import clock

F = TypeVar("F", bound=Callable[..., Any])

also_option: Callable[[F], F] = click.option(
    "--also",
    multiple=True,
    metavar="PLACE",
    help="A second place (a folder or s3://bucket/prefix): written as well, and read where the first one lost or "
    "altered a file, which is then healed.",
)
system_option: Callable[[F], F] = click.option(
    "--system", help="The cluster, by its system identifier, when the place has several."
)


@click.group()
def command() -> None:
    """Base backups and streamed WAL, encrypted; restore of a new data directory to any moment.

    Backups lie in BACKUP_PLACE, encrypted to BACKUP_RECIPIENTS (age), every file pinned by its digest, every backup
    signed with the ledger's key. A private identity is needed for a restore and for nothing else.

    \b
    Examples:
      finance backup stream
      finance backup create
      finance backup list
      finance backup restore --to latest
    """


@command.command()
@also_option
@json_option
def create(also: tuple[str, ...], as_json: bool) -> None:
    """Take a base backup of the whole cluster, online.

    Reads DATABASE_URL_BACKUP, BACKUP_PLACE, BACKUP_RECIPIENTS, the signing key and PG_BIN. A run that was killed leaves
    no backup; the next one removes its parts.

    \b
    Example:
      finance backup create
    """
    from finance.recovery.backup.assembly import create_terms
    from finance.recovery.backup.base.create import create as take
    from finance.recovery.backup.failures import counting_failures
    from finance.settings.backup import backup_settings

    began = time.monotonic()
    settings = load_settings()
    with (
        counting_failures(backup_settings(settings).spool, "create"),
        create_terms(settings, load_topology_of(settings), also) as terms,
        byte_progress("backing up", None) as advance,
    ):
        backup = take(terms, advance)
    seconds = time.monotonic() - began
    told = {
        "ok": True,
        "backup_id": backup.backup_id,
        "system_identifier": backup.system_identifier,
        "size_bytes": int(backup.size_bytes),
        "stored_bytes": backup.stored_bytes,
        "parts": len(backup.parts),
        "seconds": round(seconds, 3),
    }
    emit(
        as_json,
        told,
        lambda console: console.print(
            f"backup {backup.backup_id}: {_mb(int(backup.size_bytes))}, stored as {_mb(backup.stored_bytes)} in "
            f"{len(backup.parts)} part(s), {seconds:.1f} s ({_mb(int(backup.size_bytes) / seconds)}/s)"
        ),
    )


@command.command()
@also_option
@click.option("--stop-on-eof", is_flag=True, hidden=True, help="Stop when stdin ends: the parent is gone.")
@json_option
def stream(also: tuple[str, ...], stop_on_eof: bool, as_json: bool) -> None:
    """Receive WAL as the server writes it, and store it; run it for ever, beside the server's replication slot.

    A segment is stored when it is complete, the unfinished one every BACKUP_PARTIAL_SECONDS: so much can be lost at
    most. Serves /metrics and /healthz on BACKUP_METRICS_PORT. SIGTERM stores what there is and exits 0.

    \b
    Example:
      finance backup stream
    """
    from finance.recovery.backup.assembly import open_stream
    from finance.runtime.process import run_process

    settings = load_settings()
    topology = load_topology_of(settings)
    code = run_process(
        "backup",
        settings,
        topology,
        stop_on_eof=stop_on_eof,
        build=lambda metrics: open_stream(settings, topology, also, metrics),
    )
    if as_json:
        emit(True, {"ok": code == 0, "process": "backup", "exit_code": code}, lambda _console: None)
    raise click.exceptions.Exit(code)


@command.command(name="list")
@system_option
@also_option
@json_option
def list_(system: str | None, also: tuple[str, ...], as_json: bool) -> None:
    """Every backup, and how far the WAL reaches. Needs no database and no private identity.

    \b
    Example:
      finance backup list --json
    """
    from finance.cli.recovery.backup_listing import listing, listing_words
    from finance.recovery.backup.assembly import catalogue_of, copies_of

    settings = load_settings()
    catalogue = catalogue_of(settings, copies_of(settings, also), system)
    emit(as_json, listing(catalogue), lambda console: console.print(listing_words(catalogue)))


@command.command()
@system_option
@also_option
@json_option
def verify(system: str | None, also: tuple[str, ...], as_json: bool) -> None:
    """Read everything in every place: signatures, digests, and that no WAL file is missing. Exit 1: findings.

    Needs no database and no private identity. With --also, what one place lost or altered is healed from the other.

    \b
    Examples:
      finance backup verify
      finance backup verify --also s3://second-bucket/finance
    """
    from finance.recovery.backup.assembly import catalogue_of, copies_of
    from finance.recovery.backup.base.verify import verify_place
    from finance.recovery.backup.failures import count_failure, counting_failures
    from finance.settings.backup import backup_settings

    settings = load_settings()
    spool = backup_settings(settings).spool
    with counting_failures(spool, "verify"):
        copies = copies_of(settings, also)
        catalogue = catalogue_of(settings, copies, system, everywhere=True)
        with byte_progress("reading", sum(catalogue.sizes.values())) as advance:
            checked = verify_place(copies, catalogue, advance)
    if checked.findings:
        count_failure(spool, "verify")
    told = {
        "ok": not checked.findings,
        "files": checked.files,
        "findings": checked.findings,
        "unsigned": checked.unsigned,
        "healed": copies.healed,
        "not_healed": copies.not_healed,
    }

    def words(console: Console) -> None:
        console.print(f"{len(catalogue.backups)} backup(s), {checked.files} file(s) read")
        healing_words(console, copies)
        for line in checked.findings:
            console.print(f"finding   {line}")
        if checked.unsigned:
            console.print(f"{len(checked.unsigned)} of the newest file(s) of WAL wait for their signature")
        console.print("sound" if not checked.findings else f"{len(checked.findings)} finding(s)")

    emit(as_json, told, words)
    raise click.exceptions.Exit(1 if checked.findings else 0)


@command.command()
@system_option
@also_option
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@json_option
def prune(system: str | None, also: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Delete what the policy does not keep: BACKUP_KEEP_DAYS, BACKUP_KEEP_LAST. WAL that a kept backup needs stays.

    What a lock of the bucket holds stays as well, and is listed; it goes with a later run.

    \b
    Examples:
      finance backup prune --dry-run
      finance backup prune
    """
    from finance.recovery.backup.assembly import catalogue_of, copies_of
    from finance.recovery.backup.base.retention import prune as carry_out
    from finance.recovery.backup.base.retention import prune_plan
    from finance.recovery.backup.failures import counting_failures
    from finance.settings.backup import backup_settings
    from ledger_core.postgres.recovery.replication import hold_backup_lock
    from ledger_core.postgres.session import session

    settings = load_settings()
    chosen = backup_settings(settings)
    copies = copies_of(settings, also)
    with (
        counting_failures(chosen.spool, "prune"),
        session(settings.database_url("backup"), application_name="finance backup") as connection,
    ):
        hold_backup_lock(connection)
        catalogue = catalogue_of(settings, copies, system)
        plan = prune_plan(
            catalogue,
            now=clock.utc_now(),
            keep_days=chosen.keep_days,
            keep_last=chosen.keep_last,
        )
        with counting("deleting", "files", len(plan.keys)) as advance:
            locked = [] if dry_run else carry_out(copies, plan, advance)
    gone = set(plan.keys).difference(locked)
    size_bytes = sum(catalogue.sizes.get(key, 0) for key in gone)
    backups = [b.backup_id for b, keys in zip(plan.backups, plan.backup_keys, strict=True) if keys[0] in gone]
    told = {
        "ok": True,
        "deleted": not dry_run,
        "backups": backups,
        "files": len(gone),
        "bytes": size_bytes,
        "locked": locked,
        "kept": [backup.backup_id for backup in plan.kept],
    }
    verb = "would go" if dry_run else "deleted"

    def words(console: Console) -> None:
        for key in locked:
            console.print(f"locked    {key}")
        console.print(
            f"{verb}: {len(backups)} backup(s), {len(gone)} file(s), {_mb(size_bytes)}; "
            f"{len(plan.kept)} backup(s) kept" + (f"; {len(locked)} file(s) are still locked" if locked else "")
        )

    emit(as_json, told, words)


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


command.add_command(restore)
command.add_command(adopt)
